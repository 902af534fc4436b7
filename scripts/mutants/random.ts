/** `count` of `all`, the same for the same seed, in the order of `all`; none lies across another's borders. */
export function draw<T extends { readonly file: string; readonly start: number; readonly end: number }>(
  all: readonly T[],
  count: number,
  seed: number,
): T[] {
  const random = mulberry32(seed);
  const left = [...all];
  const drawn: T[] = [];
  while (drawn.length < count && left.length > 0) {
    const [one] = left.splice(Math.floor(random() * left.length), 1);
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

/** Numbers from 0 to below 1. Source: https://gist.github.com/tommyettinger/46a874533244883189143505d203312c (public domain) */
function mulberry32(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}
