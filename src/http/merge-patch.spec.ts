import { beforeAll, describe, expect, it } from '@jest/globals';
import { z } from 'zod';
import * as mini from 'zod/mini';
import { definitionFields, JobDefinition } from '../jobs/job-definition.js';
import { mergePatch, mergePatchOf } from './merge-patch.js';

describe('mergePatch', () => {
  // The test cases of RFC 7396, appendix A.
  it.each([
    [{ a: 'b' }, { a: 'c' }, { a: 'c' }],
    [{ a: 'b' }, { b: 'c' }, { a: 'b', b: 'c' }],
    [{ a: 'b' }, { a: null }, {}],
    [{ a: 'b', b: 'c' }, { a: null }, { b: 'c' }],
    [{ a: ['b'] }, { a: 'c' }, { a: 'c' }],
    [{ a: 'c' }, { a: ['b'] }, { a: ['b'] }],
    [{ a: { b: 'c' } }, { a: { b: 'd', c: null } }, { a: { b: 'd' } }],
    [{ a: [{ b: 'c' }] }, { a: [1] }, { a: [1] }],
    [
      ['a', 'b'],
      ['c', 'd'],
      ['c', 'd'],
    ],
    [{ a: 'b' }, ['c'], ['c']],
    [{ a: 'foo' }, null, null],
    [{ a: 'foo' }, 'bar', 'bar'],
    [{ e: null }, { a: 1 }, { e: null, a: 1 }],
    [[1, 2], { a: 'b', c: null }, { a: 'b' }],
    [{}, { a: { bb: { ccc: null } } }, { a: { bb: {} } }],
  ])('%j with %j is %j', (target, patch, expected) => {
    expect(mergePatch(target, patch)).toEqual(expected);
  });

  it('leaves what it was given alone', () => {
    const target = Object.freeze({ a: Object.freeze({ b: 1 }) });
    expect(mergePatch(target, { a: { c: 2 } })).toEqual({ a: { b: 1, c: 2 } });
    expect(target).toEqual({ a: { b: 1 } });
  });

  it('takes __proto__ for a name like any other', () => {
    const merged = mergePatch({}, JSON.parse('{"__proto__": {"polluted": 1}}')) as object;
    expect(Object.keys(merged)).toEqual(['__proto__']);
    expect(Object.getPrototypeOf(merged)).toBe(Object.prototype);
  });
});

describe('the schema of a patch', () => {
  let Patch: ReturnType<typeof mergePatchOf>;
  beforeAll(() => {
    Patch = mergePatchOf(z.object(definitionFields));
  });

  it.each([
    [{}],
    [{ memoryMiB: null }],
    [{ env: { A: null, B: 'b' } }],
    [{ health: { retries: 5 } }],
    [{ instance: { types: ['t3.micro'] }, rollout: { drainSeconds: 0 } }],
    [{ onCapacity: 'fail' }],
  ])('accepts %j and adds nothing to it', (patch) => {
    expect(Patch.parse(patch)).toEqual(patch);
  });

  it.each([
    [{ nonsense: null }, []],
    [{ instance: { size: null } }, ['instance']],
    [{ env: { A: 1 } }, ['env', 'A']],
    [{ rollout: { drainSeconds: -1 } }, ['rollout', 'drainSeconds']],
    [{ instance: { types: ['t3'] } }, ['instance', 'types', 0]],
  ])('refuses %j', (patch, path) => {
    expect(Patch.safeParse(patch).error?.issues[0]?.path).toEqual(path);
  });

  it('gives a removed field its default again', () => {
    const stored = JobDefinition.parse({ env: { A: 'a' }, rollout: { drainSeconds: 1 } });
    const patched = JobDefinition.parse(mergePatch(stored, Patch.parse({ env: null, rollout: null })));
    expect(patched).toEqual(JobDefinition.parse({}));
  });

  it('has no default, however it is wrapped, and takes null for each field', () => {
    const inner = z.object({ a: z.int().default(1), b: z.string().optional() });
    const Wrapped = mergePatchOf(
      z.object({
        plain: z.int(),
        defaulted: z.int().default(1),
        prefaulted: z.int().prefault(1),
        optional: z.int().optional(),
        both: z.int().optional().default(1),
        object: inner,
        objects: inner.prefault({}),
        map: z.record(z.string(), z.int()).default({}),
      }),
    );
    expect(Wrapped.parse({})).toEqual({});
    expect(Wrapped.parse({ object: {}, objects: { b: 'x' } })).toEqual({ object: {}, objects: { b: 'x' } });
    const names = ['plain', 'defaulted', 'prefaulted', 'optional', 'both', 'object', 'objects', 'map'];
    const removal = Object.fromEntries(names.map((name) => [name, null]));
    expect(Wrapped.parse(removal)).toEqual(removal);
    expect(Wrapped.parse({ object: { a: null, b: null }, map: { x: null, y: 1 } })).toBeTruthy();
    for (const name of names) expect(Wrapped.safeParse({ [name]: 'x' }).success).toBe(false);
    expect(Wrapped.safeParse({ object: { c: 1 } }).success).toBe(false);
    expect(Wrapped.safeParse({ map: { x: 'y' } }).success).toBe(false);
  });

  it('is described as its fields are, inside or outside of a default, and is no component by itself', () => {
    const described = { description: 'inner', examples: [1] };
    const fields = z.object({
      plain: z.int().meta(described),
      inside: z.int().meta(described).default(1),
      both: z.int().meta(described).optional().meta({ description: 'outer' }),
      prefaulted: z.int().meta(described).prefault(1),
      named: z.int().meta({ id: 'ANumberOfMergePatch', description: 'named' }),
      undescribed: z.int(),
    });
    const metas = Object.entries(mergePatchOf(fields).shape).map(([name, field]) => [name, field.meta()]);
    expect(Object.fromEntries(metas)).toEqual({
      plain: described,
      inside: described,
      both: { description: 'outer', examples: [1] },
      prefaulted: described,
      named: { description: 'named' },
      undescribed: undefined,
    });
  });

  it('cannot be made of what another builder made', () => {
    expect(() => mergePatchOf(z.object({ a: mini.string() as never }))).toThrow('classic builder');
  });
});
