import type { ArgumentMetadata } from '@nestjs/common';
import { describe, expect, it } from '@jest/globals';
import { z } from 'zod';
import type { Problem } from './problem.js';
import { ValidationPipe } from './validation.pipe.js';

const Query = z.strictObject({ name: z.union([z.string(), z.array(z.string())]).optional(), limit: z.coerce.number() });
const Body = z.object({
  env: z.record(z.string(), z.string()),
  limit: z.int().default(7),
  note: z.string().optional(),
});

/** What the handler gets, or the problem. */
async function check(value: unknown, metadata: Partial<ArgumentMetadata>): Promise<unknown> {
  const full = { type: 'query', metatype: Object, ...metadata } as ArgumentMetadata;
  return await new ValidationPipe().transform(value, full).catch((error: unknown) => error);
}

describe('what is sent', () => {
  it('reaches the handler as its schema makes it, and as it came where there is none', async () => {
    expect(await check({ limit: '7' }, { schema: Query })).toEqual({ limit: 7 });
    expect(await check({ env: {} }, { type: 'body', schema: Body })).toEqual({ env: {}, limit: 7 });
    const value = { limit: '7\0' };
    expect(await check(value, {})).toBe(value);
    // What a decorator of ours made is no text of a client's.
    expect(await check(value, { type: 'custom', schema: Query })).toBe(value);
  });

  it('may have any name and any character in a body', async () => {
    const env = JSON.parse('{"constructor":"a","prototype":"b\\u0000"}') as object;
    const body = { env, note: 'a\0' };
    expect(await check(body, { type: 'body', schema: Body })).toEqual({ ...body, limit: 7 });
  });

  it.each<[string, unknown, Partial<ArgumentMetadata>, Partial<Problem>]>([
    [
      'a query',
      { limit: 'x' },
      { schema: Query },
      {
        code: 'invalid-parameter',
        detail: 'limit: must be a number',
        errors: [{ parameter: 'limit', detail: 'must be a number' }],
      },
    ],
    [
      'a parameter of the path',
      'x',
      { type: 'param', data: 'number', schema: z.coerce.number() },
      { code: 'invalid-parameter', errors: [{ parameter: 'number', detail: 'must be a number' }] },
    ],
    [
      'a body',
      { env: { A: 1 } },
      { type: 'body', schema: Body },
      {
        code: 'invalid-request',
        detail: '#/env/A: must be a string',
        errors: [{ pointer: '#/env/A', detail: 'must be a string' }],
      },
    ],
    ['no body', undefined, { type: 'body', schema: Body }, { code: 'malformed-request' }],
    ['null for a body', null, { type: 'body', schema: Body }, { code: 'malformed-request' }],
  ])('is refused where the schema refuses it: %s', async (_what, value, metadata, problem) => {
    expect(await check(value, metadata)).toMatchObject(problem);
  });

  it.each<[string, unknown, string | undefined, readonly string[]]>([
    ['a query', { limit: '7', name: 'a\0' }, undefined, ['name']],
    ['a parameter that is named twice', { limit: '7', name: ['a', '\0'] }, undefined, ['name']],
    ['two parameters', { limit: '\0', name: '\0' }, undefined, ['limit', 'name']],
    ['a parameter of the path', 'a\0b\0', 'name', ['name']],
  ])('is refused with a NUL character, which Postgres takes in no text: %s', async (_what, value, data, names) => {
    const schema = data === undefined ? Query : z.string();
    expect(await check(value, { schema, ...(data !== undefined && { type: 'param', data }) })).toMatchObject({
      code: 'invalid-parameter',
      errors: names.map((parameter) => ({ parameter, detail: 'must not contain a NUL character' })),
    });
  });

  it('is refused by its schema where it is no object at all', async () => {
    expect(await check(undefined, { schema: Query })).toMatchObject({ code: 'invalid-parameter' });
    expect(await check(7, { type: 'param', data: 'name', schema: z.string() })).toMatchObject({
      errors: [{ parameter: 'name', detail: 'must be a string' }],
    });
  });
});
