import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import Fastify, { type FastifyInstance, type FastifyRequest } from 'fastify';
import { parseJsonBody } from './body.js';

describe('a body of JSON', () => {
  const server: FastifyInstance = Fastify();
  beforeAll(async () => {
    await server.ready();
  });
  afterAll(() => server.close());

  /** The body that the handler gets, or why it gets none. */
  function parse(text: string): unknown {
    let outcome: unknown;
    parseJsonBody({ server } as FastifyRequest, Buffer.from(text), (error, body) => {
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
    ['names behind quotes that are none', `{"a\\"":"\\\\",${many(10_001, (index) => `"k\\"${index}":0`)}}`],
  ])('with too many %s is refused before anything is made of them', (_what, text) => {
    expect(parse(text)).toBe('The body holds more than 10000 values.');
  });

  it.each([
    ['nothing', '', undefined],
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
    ['cut short', '{"a":"', /^The body is not JSON/],
    ['that ends with a backslash', '"\\', /^The body is not JSON/],
  ])('%s is refused', (_what, text, message) => {
    expect(parse(text)).toMatch(message);
  });
});
