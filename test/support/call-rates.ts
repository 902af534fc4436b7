import type { CallRecord } from '../../local/cloud/ledger.ts';

export type Bucket = { readonly most: number; readonly perSecond: number };

/** EC2's published buckets of calls, per account and region (docs/ec2.md); the program has its own copy. */
export const EC2_CALLS: Readonly<Record<string, Bucket>> = {
  RunInstances: { most: 5, perSecond: 2 },
  TerminateInstances: { most: 100, perSecond: 5 },
  CreateTags: { most: 100, perSecond: 10 },
};
/** And of the instances they touch. */
export const EC2_INSTANCES: Readonly<Record<string, Bucket>> = {
  RunInstances: { most: 1000, perSecond: 2 },
  TerminateInstances: { most: 1000, perSecond: 20 },
};

/**
 * By how much a bucket was overdrawn at worst, over every window from one call to a later one; 0 or less = never.
 * @param weigh tokens of a call
 */
export function overdraft(
  calls: readonly CallRecord[],
  { most, perSecond }: Bucket,
  weigh: (call: CallRecord) => number = () => 1,
): number {
  let worst = -Infinity;
  for (const [first, { at: from }] of calls.entries()) {
    let sum = 0;
    for (const call of calls.slice(first)) {
      sum += weigh(call);
      const seconds = (Date.parse(call.at) - Date.parse(from)) / 1000;
      worst = Math.max(worst, sum - most - seconds * perSecond);
    }
  }
  return worst;
}
