import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { JOINED_BYTES, pauseAfter, planSealing, type RecentChunk, SEALED_BYTES } from './plan-sealing.js';

/** Such chunks are not joined. */
const LARGE_BYTES = 32_768;

describe('the store that refuses', () => {
  it.each([
    [1, 15],
    [2, 30],
    [5, 240],
    [6, 300],
    [100_000, 300],
  ])('is tried again, after %d times, in %d s', (failures, seconds) => {
    expect(pauseAfter(failures)).toBe(seconds);
  });
});

describe('planSealing', () => {
  it.each([
    ['nothing, of nothing', [], true, []],
    ['a few lines until it is time', [10, 20], false, []],
    ['a few lines when it is', [10, 20], true, [[true, 2]]],
    ['what fills an object, and leaves the rest', [200_000, 200_000, 200_000, 5], false, [[true, 2]]],
    ['what fills an object to the last byte', [SEALED_BYTES - 10, 10], false, [[true, 2]]],
    ['nothing that is a byte short of it', [SEALED_BYTES - 10, 9], false, []],
    ['one chunk that is larger than an object', [SEALED_BYTES + 1, 5], false, [[true, 1]]],
    [
      'what fills two, and what is left when it is time',
      [SEALED_BYTES, SEALED_BYTES, 5],
      true,
      [
        [true, 1],
        [true, 1],
        [true, 1],
      ],
    ],
    ['many small ones, in the database', Array<number>(16).fill(10), false, [[false, 16]]],
    ['not fewer of them than that', Array<number>(15).fill(10), false, []],
    ['one that is nearly large', [LARGE_BYTES - 1, ...Array<number>(15).fill(10)], false, [[false, 16]]],
    ['none that is large, but those behind it', [LARGE_BYTES, ...Array<number>(16).fill(10)], false, [[false, 16]]],
    ['none that is large, but those before it', [...Array<number>(16).fill(10), LARGE_BYTES], false, [[false, 16]]],
    ['as many as fit to the last byte', Array<number>(17).fill(JOINED_BYTES / 16), false, [[false, 16]]],
    ['none of those of which too few fit', Array<number>(17).fill(JOINED_BYTES / 16 + 1), false, []],
    ['no large ones, nor what is too little beside them', [40_000, ...Array<number>(15).fill(10), 40_000], false, []],
  ])('joins %s', (_what, sizes, isDue, expected) => {
    const planned = planSealing(chunksOf(sizes), isDue);
    expect(planned.map(({ isSealed, chunks }) => [isSealed, chunks.length])).toEqual(expected);
  });

  it('takes every chunk once at most, the sealed ones first and without a gap, and never makes one too large', () => {
    const sizes = fc.array(fc.oneof(fc.integer({ min: 1, max: 500 }), fc.integer({ min: 1, max: 70_000 })), {
      maxLength: 150,
    });
    fc.assert(
      fc.property(sizes, fc.boolean(), (all, isDue) => {
        const chunks = chunksOf(all);
        const planned = planSealing(chunks, isDue);
        const sealed = planned.filter(({ isSealed }) => isSealed).flatMap((joining) => joining.chunks);
        expect(sealed).toEqual(chunks.slice(0, sealed.length));
        if (isDue) expect(sealed).toEqual(chunks);
        const taken = planned.flatMap((joining) => joining.chunks);
        expect(new Set(taken).size).toBe(taken.length);
        for (const { isSealed, chunks: joined } of planned) {
          const from = chunks.indexOf(joined[0]!);
          expect(joined).toEqual(chunks.slice(from, from + joined.length));
          const bytes = joined.reduce((sum, chunk) => sum + chunk.bytes, 0);
          expect(joined.length === 1 || bytes <= (isSealed ? SEALED_BYTES : JOINED_BYTES)).toBe(true);
        }
      }),
    );
  });

  function chunksOf(sizes: readonly number[]): RecentChunk[] {
    return sizes.map((bytes, index) => ({ firstLine: index * 2 + 1, lastLine: index * 2 + 2, bytes }));
  }
});
