/** Repeatable randomness: one seed gives one sequence, so a failed run can be run again. */
export type Random = {
  /** 0 ≤ x < 1 */
  fraction(): number;
  /** low ≤ x ≤ high, whole numbers. */
  between(low: number, high: number): number;
  hex(digits: number): string;
};

/** Mulberry32: small and fast, good enough for ids and delays; never for secrets. */
export function createRandom(seed: number): Random {
  let state = seed >>> 0;
  const fraction = (): number => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 0x1_0000_0000;
  };
  return {
    fraction,
    between: (low, high) => low + Math.floor(fraction() * (high - low + 1)),
    hex: (digits) => Array.from({ length: digits }, () => Math.floor(fraction() * 16).toString(16)).join(''),
  };
}
