import { describe, expect, it } from '@jest/globals';
import { requestIdOf } from './request-id.js';

describe('requestIdOf', () => {
  it('keeps the caller’s id', () => {
    expect(requestIdOf({ headers: { 'x-request-id': 'a.B-9:_' } })).toBe('a.B-9:_');
  });

  it.each(['', 'a b', 'a\nb', '"', 'x'.repeat(129)])('makes its own instead of %j', (given) => {
    expect(requestIdOf({ headers: { 'x-request-id': given } })).toMatch(/^[0-9a-f-]{36}$/);
  });
});
