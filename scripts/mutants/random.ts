import { createRandom } from '../../local/cloud/random.ts';

/** `count` of `all`, the same for the same seed, in the order of `all`; none lies across another's borders. */
export function draw<T extends { readonly file: string; readonly start: number; readonly end: number }>(
  all: readonly T[],
  count: number,
  seed: number,
): T[] {
  const random = createRandom(seed);
  const left = [...all];
  const drawn: T[] = [];
  while (drawn.length < count && left.length > 0) {
    const [one] = left.splice(random.between(0, left.length - 1), 1);
    if (one && !drawn.some((other) => isAcross(one, other))) drawn.push(one);
  }
  return drawn.toSorted((a, b) => all.indexOf(a) - all.indexOf(b));
}

function isAcross(
  a: { file: string; start: number; end: number },
  b: { file: string; start: number; end: number },
): boolean {
  if (a.file !== b.file || a.end <= b.start || b.end <= a.start) return false;
  const isInside = (inner: typeof a, outer: typeof a): boolean => inner.start >= outer.start && inner.end <= outer.end;
  return !isInside(a, b) && !isInside(b, a);
}
