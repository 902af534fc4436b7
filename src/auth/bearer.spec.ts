import { describe, expect, it } from '@jest/globals';
import { bearerTokenOf, digestOf, isToken } from './bearer.js';

describe('bearerTokenOf', () => {
  it.each([
    ['Bearer abc', 'abc'],
    ['bearer  abc ', 'abc'],
    ['BEARER a~+/=', 'a~+/='],
    ['Basic abc', undefined],
    ['Bearer', undefined],
    ['Bearer a b', undefined],
    ['xBearer abc', undefined],
    ['', undefined],
    [undefined, undefined],
  ])('%j: %j', (header, expected) => {
    expect(bearerTokenOf(header)).toBe(expected);
  });
});

describe('isToken', () => {
  it('accepts the very token only', () => {
    const expected = digestOf('right');
    expect(isToken('right', expected)).toBe(true);
    expect(isToken('righ', expected)).toBe(false);
    expect(isToken('', expected)).toBe(false);
  });
});
