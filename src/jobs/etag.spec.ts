import { describe, expect, it } from '@jest/globals';
import { Problem } from '../http/problem.js';
import { etagOf, versionsOf } from './etag.js';

describe('If-Match', () => {
  it.each([
    [undefined, null],
    ['*', null],
    [etagOf(3), [3]],
    ['"1", "2" ,"3"', [1, 2, 3]],
    ['W/"1"', []],
    ['W/"1", "2"', [2]],
    ['"other"', []],
    ['"99999999999"', []],
    ['"a,b"', []],
  ])('%s accepts %j', (header, versions) => {
    expect(versionsOf(header)).toEqual(versions);
  });

  it.each(['3', '', '"3', '"1" "2"', '*, "1"'])('%j cannot be read', (header) => {
    expect(() => versionsOf(header)).toThrow(Problem);
  });
});
