import { describe, expect, it } from '@jest/globals';
import { secondsOf, shown } from './duration.js';
import { tableOf } from './terminal.js';
import { safeJson, safeLine } from './safe-text.js';

describe('tableOf', () => {
  it('pads columns to their widest cell and leaves no spaces at the ends', () => {
    expect(tableOf(['A', 'LONG'], [['wide', 'x']])).toEqual(['A     LONG', 'wide  x']);
  });
});

describe('safeLine', () => {
  it('takes from a container the power over the terminal of who looks, but not its tabs and letters', () => {
    expect(safeLine('a\u001b[2Jb\rc\u009bd\te\u001b]52;c;eA==\u0007 ä日👍\u202ef')).toBe(
      'a�[2Jb�c�d\te�]52;c;eA==� ä日👍�f',
    );
  });

  it('makes one line of several', () => {
    expect(safeLine('a\nb\r\nc\u2028d')).toBe('a↵b↵c�d');
  });

  it('ends with the line what its colours began, and leaves out those it may not have', () => {
    expect(safeLine('a\u001b[1;31mb\u001b[8mc', (sequence) => sequence !== '\u001b[8m')).toBe(
      'a\u001b[1;31mbc\u001b[0m',
    );
    expect(safeLine('a\u001b[1;31mb')).toBe('ab');
  });
});

describe('safeJson', () => {
  it('is the same value, without a character that a terminal obeys', () => {
    const value = { a: '\u001b\u007f\u009b\u2028\u202eä', 'b\u0085': ['\n'] };
    // eslint-disable-next-line no-control-regex
    expect(safeJson(value)).not.toMatch(/[\u0000-\u001f\u007f-\u009f\u2028\u202e]/);
    expect(JSON.parse(safeJson(value))).toEqual(value);
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
