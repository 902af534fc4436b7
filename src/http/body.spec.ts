import { describe, expect, it } from '@jest/globals';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { acceptOnlyJson, parseJsonBody } from './body.js';

describe('a body of JSON', () => {
  /** The body that the handler gets, or why it gets none. */
  function parse(text: string): unknown {
    let outcome: unknown = 'no answer';
    parseJsonBody({} as FastifyRequest, Buffer.from(text), (error, body) => {
      outcome = error?.message ?? body;
    });
    return outcome;
  }

  const many = (count: number, one: (index: number) => string): string =>
    Array.from({ length: count }, (_, index) => one(index)).join(',');

  it.each([
    ['names', `{${many(100_000, (index) => `"k${index}":0`)}}`],
    ['numbers', `[${many(500_000, () => '0')}]`],
    ['numbers, by one', `[${many(10_001, () => '0')}]`],
    ['lists', `[${many(300_000, () => '[]')}]`],
    ['lists within lists', `[${many(2_000, () => '[[[[[]]]]]')}]`],
    ['objects', `{"ports":[${many(10_000, () => '{}')}]}`],
    ['numbers behind a text that ends with an escape', `["\\n",${many(10_001, () => '0')}]`],
    ['names behind quotes that are none', `{"a\\"":"\\\\",${many(10_001, (index) => `"k\\"${index}":0`)}}`],
  ])('with too many %s is refused before anything is made of them', (_what, text) => {
    expect(parse(text)).toBe('The body holds more than 10000 values.');
  });

  it.each([
    ['nothing', '', undefined],
    ['a byte order mark before it', '\ufeff{"a":1}', { a: 1 }],
    ['as many values as it may', `[${many(10_000, () => '0')}]`, Array(10_000).fill(0)],
    [
      'text of any kind',
      JSON.stringify({ A: ',[{'.repeat(50_000), '",': '\\' }),
      { A: ',[{'.repeat(50_000), '",': '\\' },
    ],
  ])('may hold %s', (_what, text, body) => {
    expect(parse(text)).toEqual(body);
  });

  it.each([
    ['nested deeper than 32 levels', `${'['.repeat(33)}${']'.repeat(33)}`, 'The body is nested deeper than 32 levels.'],
    ['with a name that nothing can have', '{"a":{"__proto__":1}}', '#/a/__proto__: nothing can be named __proto__'],
    [
      'with it behind other names',
      '{"a":{"b":0},"c":{"__proto__":1}}',
      '#/c/__proto__: nothing can be named __proto__',
    ],
    ['with it in a list', '[[],{"__proto__":1}]', '#/1/__proto__: nothing can be named __proto__'],
    ['cut short', '{"a":"', 'The body is not JSON: there is a fault at position 6.'],
    ['that ends with a backslash', '"\\', /^The body is not JSON/],
    // Its text may be a secret.
    ['that is something else', 'SECRET', 'The body is not JSON.'],
    ['with a byte order mark in it', '{\ufeff}', /^The body is not JSON/],
  ])('%s is refused', (_what, text, message) => {
    const refusal = parse(text);
    if (typeof message === 'string') expect(refusal).toBe(message);
    else expect(refusal).toMatch(message);
  });

  it('may be as deep as 32 levels', () => {
    const text = `${'['.repeat(32)}${']'.repeat(32)}`;
    expect(JSON.stringify(parse(text))).toBe(text);
  });
});

describe('a body of another type', () => {
  it.each<[string | undefined, string | undefined, boolean]>([
    ['application/json', '/v1/jobs', true],
    ['Application/JSON; charset=utf-8', '/v1/jobs', true],
    ['application/merge-patch+json', '/v1/jobs/:name', true],
    [undefined, '/v1/jobs', true],
    ['text/plain', '/v1/jobs', false],
    ['application/x-www-form-urlencoded', '/v1/jobs', false],
    ['application/jsonp', '/v1/jobs', false],
    ['text/json', '/v1', false],
    ['application/octet-stream', '/agent/v1/orders', true],
    ['application/octet-stream', '/agent/v1', true],
    ['text/plain', undefined, true],
  ])('%s for %s: %s', (type, url, isAccepted) => {
    const request = { headers: { 'content-type': type }, routeOptions: { url } } as unknown as FastifyRequest;
    const outcomes: unknown[] = [];
    acceptOnlyJson(request, {} as FastifyReply, (error) => outcomes.push(error));
    expect(outcomes).toStrictEqual([
      isAccepted ? undefined : expect.objectContaining({ code: 'unsupported-media-type' }),
    ]);
  });
});
