import { createRandom } from '../../local/cloud/random.ts';

/** Repeatable choices. */
export type Draw = {
  /** low ≤ x ≤ high, whole numbers. */
  readonly between: (low: number, high: number) => number;
  /** True with this probability. */
  readonly chance: (probability: number) => boolean;
  /** @throws Error when there is nothing to pick from */
  readonly pick: <T>(items: readonly T[]) => T;
  /** By weight. */
  readonly weigh: <T>(items: readonly (readonly [weight: number, item: T])[]) => T;
  readonly hex: (digits: number) => string;
};

export function createDraw(seed: number): Draw {
  const random = createRandom(seed);
  const between = (low: number, high: number): number => random.between(low, high);
  const pick = <T>(items: readonly T[]): T => {
    if (items.length === 0) throw new Error('there is nothing to pick from');
    return items[between(0, items.length - 1)] as T;
  };
  return {
    between,
    hex: (digits) => random.hex(digits),
    pick,
    chance: (probability) => random.fraction() < probability,
    weigh: (items) => {
      let left = random.fraction() * items.reduce((sum, [weight]) => sum + weight, 0);
      for (const [weight, item] of items) if ((left -= weight) < 0) return item;
      return pick(items)[1];
    },
  };
}
