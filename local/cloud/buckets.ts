import { CloudError } from './errors.ts';

/** EC2's request and resource token buckets, per account and action (docs/ec2.md). */
export type Buckets = {
  /** One call. @throws RequestLimitExceeded */
  takeCall(action: string, isNarrowed: boolean): void;
  /** As many resources as the call touches. @throws RequestLimitExceeded */
  takeResources(action: string, count: number): void;
};

export function createBuckets(quotas: 'ec2' | 'none', now: () => number): Buckets {
  if (quotas === 'none') return { takeCall: () => undefined, takeResources: () => undefined };
  const levels = new Map<string, { tokens: number; at: number }>();
  const take = (name: string, limit: Limit, count: number): void => {
    const at = now();
    const level = levels.get(name) ?? { tokens: limit.most, at };
    const tokens = Math.min(limit.most, level.tokens + ((at - level.at) / 1000) * limit.perSecond);
    const isEnough = tokens >= count;
    levels.set(name, { tokens: isEnough ? tokens - count : tokens, at });
    if (!isEnough) throw new CloudError('RequestLimitExceeded', 'Request limit exceeded.');
  };
  return {
    takeCall: (action, isNarrowed) => {
      const isUnfiltered = action.startsWith('Describe') && !isNarrowed;
      take(isUnfiltered ? `${action}/unfiltered` : action, callLimit(action, isUnfiltered), 1);
    },
    takeResources: (action, count) => {
      const limit = RESOURCE_LIMITS[action];
      if (limit !== undefined) take(`${action}/resources`, limit, count);
    },
  };
}

type Limit = { readonly most: number; readonly perSecond: number };

function callLimit(action: string, isUnfiltered: boolean): Limit {
  if (isUnfiltered) return UNFILTERED;
  const isReading = action.startsWith('Describe') || action.startsWith('Get');
  return CALL_LIMITS[action] ?? (isReading ? READING : MUTATING);
}

const READING: Limit = { most: 100, perSecond: 20 };
const UNFILTERED: Limit = { most: 50, perSecond: 10 };
const MUTATING: Limit = { most: 50, perSecond: 5 };
const CALL_LIMITS: Readonly<Record<string, Limit>> = {
  RunInstances: { most: 5, perSecond: 2 },
  TerminateInstances: { most: 100, perSecond: 5 },
  CreateTags: { most: 100, perSecond: 10 },
};
const RESOURCE_LIMITS: Readonly<Record<string, Limit>> = {
  RunInstances: { most: 1000, perSecond: 2 },
  TerminateInstances: { most: 1000, perSecond: 20 },
  StopInstances: { most: 1000, perSecond: 20 },
};
