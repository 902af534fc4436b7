import { describe, expect, it } from '@jest/globals';
import { z } from 'zod';
import { bodyErrors, type Issue, parameterErrors, summarize } from './validation-errors.js';

const Body = z.strictObject({
  image: z.string(),
  env: z.record(z.string(), z.string()).optional(),
  names: z.record(z.string().regex(/^[^=]*$/, 'must not hold ='), z.string()).optional(),
  ports: z.array(z.strictObject({ host: z.int() })).optional(),
  onCapacity: z.union([z.literal('fail'), z.strictObject({ waitSeconds: z.int().min(1) })]).optional(),
});

function issuesOf(value: unknown, schema: z.ZodType = Body): readonly Issue[] {
  return schema.safeParse(value).error?.issues ?? [];
}

describe('bodyErrors', () => {
  it.each<[string, unknown, string, RegExp]>([
    ['a missing field', {}, '#/image', /string/],
    ['a wrong body', [], '#', /object/],
    ['an element of a list', { image: 'x', ports: [{ host: 1 }, { host: 'y' }] }, '#/ports/1/host', /number/],
    ['an unknown field', { image: 'x', imgae: 'y' }, '#/imgae', /not a known field/],
    ['an unknown field further in', { image: 'x', ports: [{ host: 1, z: 1 }] }, '#/ports/0/z', /not a known field/],
    ['a key with pointer characters', { image: 'x', env: { 'a/b~c d': 1 } }, '#/env/a~1b~0c%20d', /string/],
    ['a key that is half a surrogate pair', { image: 'x', '\ud83d': 1 }, '#/%EF%BF%BD', /not a known field/],
    ['a name in a map', { image: 'x', names: { 'a=b': '' } }, '#/names/a%3Db', /^the name must not hold =$/],
    [
      'none of the alternatives',
      { image: 'x', onCapacity: 7 },
      '#/onCapacity',
      /^must be "fail", or must be an object$/,
    ],
    [
      'inside the alternative that was meant',
      { image: 'x', onCapacity: { waitSeconds: 0 } },
      '#/onCapacity/waitSeconds',
      /at least 1/,
    ],
  ])('points at %s', (_what, value, pointer, detail) => {
    expect(bodyErrors(issuesOf(value))).toEqual([{ pointer, detail: expect.stringMatching(detail) }]);
  });

  it('names each unknown field by itself', () => {
    const pointers = bodyErrors(issuesOf({ image: 'x', a: 1, b: 2 })).map(
      (error) => 'pointer' in error && error.pointer,
    );
    expect(pointers).toEqual(['#/a', '#/b']);
  });

  it('stays small whatever is sent', () => {
    const env = Object.fromEntries(Array.from({ length: 5000 }, (_, n) => [`K${n}`, n]));
    expect(bodyErrors(issuesOf({ image: 'x', env }))).toHaveLength(50);
    // One issue of Zod's, however many names.
    expect(bodyErrors(issuesOf({ image: 'x', ...env }))).toHaveLength(50);
  });
});

describe('an issue', () => {
  const message = 'Invalid input';
  const inside = { message: 'must be 1', path: ['a'] };
  const outside = { message: 'must be a string' };

  it.each<[string, Issue, readonly (readonly [pointer: string, detail: string])[]]>([
    ['of another library', { message: 'no' }, [['#', 'no']]],
    ['with a path of segments', { message: 'no', path: ['a', { key: 'b' }, 0] }, [['#/a/b/0', 'no']]],
    ['of unknown fields that names none', { message: 'no', code: 'unrecognized_keys' }, [['#', 'no']]],
    ['of another kind that has keys', { message: 'no', code: 'custom', keys: ['a'] }, [['#', 'no']]],
    ['of a name that says no more', { message: 'no', code: 'invalid_key' }, [['#', 'no']]],
    ['of another kind that has issues', { message: 'no', code: 'custom', issues: [outside] }, [['#', 'no']]],
    ['of a union that says no more', { message: 'no', code: 'invalid_union' }, [['#', 'no']]],
    ['of another kind that has alternatives', { message: 'no', code: 'custom', errors: [[outside]] }, [['#', 'no']]],
    [
      'of a union is that of the alternative that got further',
      { message, code: 'invalid_union', path: ['x'], errors: [[outside], [outside, inside], [inside]] },
      [
        ['#/x', 'must be a string'],
        ['#/x/a', 'must be 1'],
      ],
    ],
    [
      'of a union with an unknown field in one of its alternatives',
      { message, code: 'invalid_union', errors: [[outside], [{ message, code: 'unrecognized_keys', keys: ['b'] }]] },
      [['#/b', 'is not a known field']],
    ],
    [
      'of a union where none got further',
      {
        message,
        code: 'invalid_union',
        errors: [[outside, { message: 'must not be empty' }], [{ message: 'must be 7', path: [] }]],
      },
      [['#', 'must be a string, or must be 7']],
    ],
    [
      'of a union with words of its own',
      { message: 'must be short', code: 'invalid_union', errors: [[outside]] },
      [['#', 'must be short']],
    ],
    ['of a union without alternatives', { message, code: 'invalid_union', errors: [] }, [['#', message]]],
    [
      'of a union with an empty one',
      { message, code: 'invalid_union', errors: [[], [outside]] },
      [['#', 'must be a string']],
    ],
  ])('%s', (_what, issue, errors) => {
    expect(bodyErrors([issue])).toEqual(errors.map(([pointer, detail]) => ({ pointer, detail })));
  });
});

describe('parameterErrors', () => {
  it('names the parameter of a query', () => {
    const Query = z.strictObject({ limit: z.coerce.number().max(200).optional() });
    expect(parameterErrors(issuesOf({ limit: '900', x: '1' }, Query))).toEqual([
      { parameter: 'limit', detail: expect.stringContaining('200') },
      { parameter: 'x', detail: 'is not a known field' },
    ]);
  });

  it('names a parameter that is checked alone', () => {
    expect(parameterErrors(issuesOf('X', z.string().max(0)), 'name')).toMatchObject([{ parameter: 'name' }]);
  });
});

describe('summarize', () => {
  it('says the first and how many more', () => {
    expect(summarize([{ pointer: '#/image', detail: 'is missing' }])).toBe('#/image: is missing');
    expect(
      summarize([
        { parameter: 'limit', detail: 'is high' },
        { parameter: 'x', detail: 'y' },
      ]),
    ).toBe('limit: is high (and 1 more)');
    expect(summarize([{ header: 'If-Match', detail: 'is odd' }])).toBe('If-Match: is odd');
    expect(summarize([])).toBe('The request is not valid.');
  });
});
