import { describe, expect, it } from '@jest/globals';
import { Problem } from './problem.js';
import { etagOf, isKnown, readEtagOf, versionsOf } from './etag.js';

describe('If-Match', () => {
  it.each([
    [undefined, null],
    ['*', null],
    [etagOf(3), [3]],
    ['"1", "2" ,"3"', [1, 2, 3]],
    [readEtagOf(3, { status: 'running' }), [3]],
    ['"3.short"', []],
    ['W/"1"', [1]],
    ['W/"1", "2"', [1, 2]],
    ['"other"', []],
    ['"99999999999"', []],
    ['"a,b"', []],
  ])('%s accepts %j', (header, versions) => {
    expect(versionsOf(header)).toEqual(versions);
  });

  it('accepts a job as it was read, whatever was in it', () => {
    for (const answer of [{}, { status: 'running' }, []]) expect(versionsOf(readEtagOf(3, answer))).toEqual([3]);
  });

  it.each(['3', '', '"3', '"1" "2"', '*, "1"'])('%j cannot be read', (header) => {
    expect(() => versionsOf(header)).toThrow(Problem);
  });
});

describe('If-None-Match', () => {
  const etag = readEtagOf(3, { status: 'running' });

  it.each([
    [undefined, false],
    ['', false],
    ['*', true],
    [etag, true],
    [`W/${etag}`, true],
    [`"x", ${etag}`, true],
    ['"3"', false],
    [readEtagOf(3, { status: 'deploying' }), false],
    [readEtagOf(4, { status: 'running' }), false],
    [etag.replaceAll('"', ''), false],
  ])('%s: %j', (header, expected) => {
    expect(isKnown(header, etag)).toBe(expected);
  });
});
