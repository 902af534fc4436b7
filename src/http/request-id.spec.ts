import { describe, expect, it } from '@jest/globals';
import { ownIdOf, requestIdOf } from './request-id.js';

describe('requestIdOf', () => {
  it('keeps the caller’s id', () => {
    expect(requestIdOf({ headers: { 'x-request-id': 'a.B-9:_' } })).toBe('a.B-9:_');
  });

  it.each(['', 'a b', 'a\nb', '"', 'x'.repeat(129)])('makes its own instead of %j', (given) => {
    expect(requestIdOf({ headers: { 'x-request-id': given } })).toMatch(/^[0-9a-f-]{36}$/);
  });
});

describe('ownIdOf', () => {
  const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;
  const request = (given: string | undefined, id: string) => ({ id, headers: { 'x-request-id': given } });

  it('is the same wherever it is asked for, in the log and in the record, and another for each request', () => {
    const [one, two] = [request('theirs', 'theirs'), request('theirs', 'theirs')];
    expect(ownIdOf(one)).toMatch(UUID);
    expect(ownIdOf(one)).toBe(ownIdOf(one));
    expect(ownIdOf(two)).not.toBe(ownIdOf(one));
  });

  it('is the id of the request where the caller gave none, or none that is fit', () => {
    expect(ownIdOf(request(undefined, 'ours'))).toBe('ours');
    expect(ownIdOf(request('not fit', 'ours'))).toBe('ours');
  });
});
