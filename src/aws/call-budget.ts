import type { AwsError } from './aws-error.js';

/**
 * Token buckets that mirror EC2's published quotas, so that EC2 rarely answers RequestLimitExceeded: every tool in the
 * account shares them, and a refused call still costs a token. [EC2 Developer Guide, "Request throttling"] Pure except
 * for its own levels: the clock is passed in.
 */
export class CallBudget {
  readonly #share: number;
  readonly #now: () => number;
  readonly #levels = new Map<BucketName, Level>();

  /** @param now milliseconds on a clock that never jumps */
  constructor({ share, now, start }: BudgetOptions) {
    this.#share = share;
    this.#now = now;
    for (const name of BUCKET_NAMES) {
      const tokens = start.kind === 'full' ? Infinity : Math.max(0, start.tokens[name] ?? 0);
      const refilled = start.kind === 'full' ? 0 : (Math.max(0, start.elapsedMs) / 1000) * this.#rate(name, 1);
      this.#levels.set(name, {
        tokens: Math.min(this.#size(name), tokens + refilled),
        at: now(),
        throttledAt: null,
        slowness: 1,
      });
    }
  }

  /**
   * Takes one call of `action`, and `resources` where EC2 counts them, or nothing at all.
   * @returns 0 when taken, else milliseconds until a retry can succeed
   */
  take(action: Action, resources = 1): number {
    const wanted = this.#wanted(action, resources);
    const waitMs = Math.max(...wanted.map(([name, count]) => this.#waitFor(name, count)));
    if (waitMs > 0) return Math.ceil(waitMs);
    for (const [name, count] of wanted) this.#level(name).tokens -= count;
    return 0;
  }

  /** How many resources a call of `action` could touch right now. */
  available(action: Action): number {
    const name = resourceBucketOf(action);
    return name ? Math.floor(this.#level(name).tokens) : Infinity;
  }

  /** Adapts when a call failed because EC2 throttles us; any other failure says nothing about quotas. */
  recordFailure(error: AwsError): void {
    const action = ACTIONS.find((name) => name === error.action);
    if (action !== undefined && error.reason === 'ec2-throttled') this.throttled(action);
  }

  /**
   * EC2 refused in spite of our counting: other tools spend, too. The bucket refills at half the rate, from no calls.
   * EC2 does not say which of its two buckets was empty: the one for resources is halved, as a batch may have to wait
   * for minutes.
   */
  throttled(action: Action): void {
    for (const [name] of this.#wanted(action, 1)) {
      const level = this.#level(name);
      level.tokens = name === action ? 0 : level.tokens / 2;
      level.throttledAt = this.#now();
      level.slowness = Math.min(SLOWEST, level.slowness * 2);
    }
  }

  /** Tokens left, by bucket. */
  snapshot(): Record<string, number> {
    return Object.fromEntries(BUCKET_NAMES.map((name) => [name, Math.floor(this.#level(name).tokens * 100) / 100]));
  }

  #wanted(action: Action, resources: number): [BucketName, number][] {
    const bucket = resourceBucketOf(action);
    // A call for more than the bucket ever holds could never be made: a full bucket is then enough.
    const resource: [BucketName, number][] = bucket ? [[bucket, Math.min(resources, this.#size(bucket))]] : [];
    return [[action, 1], ...resource];
  }

  #waitFor(name: BucketName, count: number): number {
    const level = this.#level(name);
    if (level.tokens >= count) return 0;
    return ((count - level.tokens) / this.#rate(name, level.slowness)) * 1000;
  }

  /** Brings the level up to now. */
  #level(name: BucketName): Level {
    const level = this.#levels.get(name) ?? { tokens: 0, at: this.#now(), throttledAt: null, slowness: 1 };
    const now = this.#now();
    if (level.throttledAt !== null && now - level.throttledAt >= RECOVER_AFTER_MS) {
      level.slowness = Math.max(1, level.slowness / 2);
      level.throttledAt = level.slowness > 1 ? now : null;
    }
    const refill = (Math.max(0, now - level.at) / 1000) * this.#rate(name, level.slowness);
    level.tokens = Math.min(this.#size(name), level.tokens + refill);
    level.at = now;
    this.#levels.set(name, level);
    return level;
  }

  /** At least one, or the bucket of a small share would never allow a call. */
  #size(name: BucketName): number {
    return Math.max(1, QUOTAS[name].most * this.#share);
  }

  #rate(name: BucketName, slowness: number): number {
    return (QUOTAS[name].perSecond * this.#share) / slowness;
  }
}

/** Takes one call of `action`, once it may be made. */
export async function takeInTurn(budget: CallBudget, action: Action): Promise<void> {
  for (let waitMs = budget.take(action); waitMs > 0; waitMs = budget.take(action)) {
    await new Promise((done) => setTimeout(done, waitMs));
  }
}

export const ACTIONS = [
  'RunInstances',
  'TerminateInstances',
  'CreateTags',
  'DescribeInstances',
  'DescribeInstanceStatus',
  'DescribeImages',
  'DescribeSubnets',
  'CreateSnapshot',
  'DescribeSnapshots',
  'DeleteSnapshot',
] as const;
export type Action = (typeof ACTIONS)[number];

export type BudgetStart =
  | { readonly kind: 'full' }
  /** Levels as they were `elapsedMs` ago; a bucket without a level was empty. */
  | { readonly kind: 'levels'; readonly tokens: Readonly<Record<string, number>>; readonly elapsedMs: number };

export type BudgetOptions = {
  /** Part of EC2's quotas we may use: above 0, at most 1. */
  readonly share: number;
  readonly now: () => number;
  readonly start: BudgetStart;
};

type BucketName = Action | 'RunInstances/instances' | 'TerminateInstances/instances';
type Level = { tokens: number; at: number; throttledAt: number | null; slowness: number };

/** One call in two minutes at the lowest rate, not none: another tool may use the account's whole quota for good. */
const SLOWEST = 16;
const RECOVER_AFTER_MS = 15_000;

const READING = { most: 100, perSecond: 20 };
const CHANGING = { most: 50, perSecond: 5 };

/** Per account, region and action. */
const QUOTAS: Readonly<Record<BucketName, { readonly most: number; readonly perSecond: number }>> = {
  RunInstances: { most: 5, perSecond: 2 },
  'RunInstances/instances': { most: 1000, perSecond: 2 },
  TerminateInstances: { most: 100, perSecond: 5 },
  'TerminateInstances/instances': { most: 1000, perSecond: 20 },
  CreateTags: { most: 100, perSecond: 10 },
  DescribeInstances: READING,
  DescribeInstanceStatus: READING,
  DescribeImages: READING,
  DescribeSubnets: READING,
  CreateSnapshot: CHANGING,
  DescribeSnapshots: READING,
  DeleteSnapshot: CHANGING,
};
const BUCKET_NAMES = Object.keys(QUOTAS) as BucketName[];

function resourceBucketOf(action: Action): BucketName | undefined {
  return action === 'RunInstances' || action === 'TerminateInstances' ? `${action}/instances` : undefined;
}
