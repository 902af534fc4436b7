import { createRandom } from '../../local/cloud/random.ts';

/** `count` of `all`, the same for the same seed, in the order of `all`. */
export function draw<T>(all: readonly T[], count: number, seed: number): T[] {
  const random = createRandom(seed);
  const left = [...all];
  const drawn = new Set<T>();
  while (drawn.size < count && left.length > 0) {
    for (const one of left.splice(random.between(0, left.length - 1), 1)) drawn.add(one);
  }
  return all.filter((one) => drawn.has(one));
}
