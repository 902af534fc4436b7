import { describe, expect, it } from '@jest/globals';
import { secondsOf, shown } from './duration.js';
import { tableOf } from './terminal.js';
import { printable } from './views.js';

describe('tableOf', () => {
  it('pads columns to their widest cell and leaves no spaces at the ends', () => {
    expect(tableOf(['A', 'LONG'], [['wide', 'x']])).toEqual(['A     LONG', 'wide  x']);
  });
});

describe('printable', () => {
  it('takes from a container the power over the terminal of who looks', () => {
    expect(printable('a\u001b[2Jb\rc\u009bd\te\u001b[1;31mf')).toBe('a�[2Jb�c�d\te\u001b[1;31mf');
  });
});

describe('durations', () => {
  it('are read with a unit, or as seconds', () => {
    expect(['90', '90s', '10m', '2h', '7d', '', '1w', '-1', '1.5m'].map(secondsOf)).toEqual([
      90,
      90,
      600,
      7_200,
      604_800,
      undefined,
      undefined,
      undefined,
      undefined,
    ]);
  });

  it('are shown by their largest unit', () => {
    expect([90, 9_990, 60_000, 600_000, 7_200_000, 200_000_000].map(shown)).toEqual([
      '0.1 s',
      '10.0 s',
      '60 s',
      '10 min',
      '2 h',
      '2 d',
    ]);
  });
});
