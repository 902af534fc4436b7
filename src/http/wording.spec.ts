import { describe, expect, it } from '@jest/globals';
import { z } from 'zod';
import { bodyErrors, parameterErrors } from './validation-errors.js';

describe('the words for what is wrong with a field', () => {
  it.each<[z.ZodType, unknown, string]>([
    [z.string(), undefined, 'is required, and must be a string'],
    [z.string(), null, 'must be a string'],
    [z.boolean(), 'yes', 'must be true or false'],
    [z.array(z.string()), 'ls -l', 'must be an array'],
    [z.record(z.string(), z.string()), [], 'must be an object'],
    [z.strictObject({}), 'wait', 'must be an object'],
    [z.int(), 1.5, 'must be a whole number'],
    [z.int().min(6), 1, 'must be at least 6'],
    [z.int().max(65_535), 99_999, 'must be at most 65535'],
    [z.number().gt(0), 0, 'must be more than 0'],
    [z.number().lt(9), 9, 'must be less than 9'],
    [z.string().min(1), '', 'must not be empty'],
    [z.string().min(2), 'a', 'must have at least 2 characters'],
    [z.string().max(1), 'ab', 'must have at most 1 character'],
    [z.array(z.string()).min(1), [], 'must not be empty'],
    [z.array(z.string()).max(2), ['a', 'b', 'c'], 'must have at most 2 items'],
    [z.enum(['on-demand', 'spot']), 'spotty', 'must be one of "on-demand", "spot"'],
    [z.enum(['viewer', 'admin']), undefined, 'is required, and must be one of "viewer", "admin"'],
    [z.literal('fail'), 'wait', 'must be "fail"'],
    [z.literal([7, null]), 8, 'must be one of 7, null'],
    [z.union([z.literal('fail'), z.strictObject({})]), 'wait', 'must be "fail", or must be an object'],
    [z.string('must be a word'), 1, 'must be a word'],
  ])('%#: are those of the schemas', (schema, value, detail) => {
    expect(bodyErrors(schema.safeParse(value).error?.issues ?? [])).toEqual([{ pointer: '#', detail }]);
  });

  it.each([
    ['0', 'must be at least 1'],
    ['600', 'must be at most 60'],
    ['1.5', 'must be a whole number'],
    ['all', 'must be a number'],
  ])('name the bound that a parameter of %s passes', (value, detail) => {
    const { error } = z.coerce.number().int().min(1).max(60).safeParse(value);
    expect(parameterErrors(error?.issues ?? [], 'wait')).toEqual([{ parameter: 'wait', detail }]);
  });
});
