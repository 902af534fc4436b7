import { AwsError } from '../aws/aws-error.js';
import type { Ec2Instance } from '../aws/ec2-types.js';

// In a zone's outage EC2 fails every describe without ids, and those with ids of that zone; it describes the instances
// of other zones by their ids (DescribeInstances in its API reference).

export type Located = { readonly id: string; readonly availabilityZone: string | null };

export type ZoneLook = {
  readonly observed: readonly Ec2Instance[];
  /** Zones EC2 did not describe: the state of their instances is unknown, which is not the same as gone. */
  readonly unanswered: readonly string[];
};

/** Whether EC2 may describe zone by zone after this failure; it cannot where it is unreachable. */
export function mayBeOneZone(error: unknown): error is AwsError {
  return error instanceof AwsError && error.kind === 'unknown-outcome' && error.reason !== 'ec2-unreachable';
}

/**
 * @param ask describes the instances of these ids; one that EC2 does not know fails the call
 * @param failure of the describe before, thrown again when EC2 describes no zone either
 */
export async function describeByZone(
  instances: readonly Located[],
  ask: (ids: readonly string[]) => Promise<readonly Ec2Instance[]>,
  failure: AwsError,
): Promise<ZoneLook> {
  const zones = [...Map.groupBy(instances, ({ availabilityZone }) => availabilityZone ?? UNKNOWN_ZONE)];
  // Concurrently: a zone in outage may only fail after the call's timeout.
  const looks = await Promise.all(
    zones.map(async ([zone, there]) => ({ zone, ...(await describeZone(zone, idsOf(there), ask)) })),
  );
  if (!looks.some(({ isAnswered }) => isAnswered)) throw failure;
  return {
    observed: looks.flatMap(({ observed }) => observed),
    unanswered: looks.filter(({ isWhole }) => !isWhole).map(({ zone }) => zone),
  };
}

const UNKNOWN_ZONE = 'an unknown zone';
/** A longer answer stalls the event loop, as a longer page would. */
const IDS = 200;

type Look = {
  readonly observed: readonly Ec2Instance[];
  /** Whether EC2 described some of the ids, and all of them. */
  readonly isAnswered: boolean;
  readonly isWhole: boolean;
};

async function describeZone(
  zone: string,
  ids: readonly string[],
  ask: (ids: readonly string[]) => Promise<readonly Ec2Instance[]>,
): Promise<Look> {
  if (ids.length > IDS) return await inHalves(zone, ids, ask);
  try {
    return { observed: await ask(ids), isAnswered: true, isWhole: true };
  } catch (error) {
    if (!(error instanceof AwsError)) throw error;
    const isAboutSome = error.kind === 'not-found' || (mayBeOneZone(error) && zone === UNKNOWN_ZONE);
    if (isAboutSome && ids.length > 1) return await inHalves(zone, ids, ask);
    if (error.kind === 'not-found') return { observed: [], isAnswered: true, isWhole: true };
    if (mayBeOneZone(error)) return { observed: [], isAnswered: false, isWhole: false };
    throw error;
  }
}

async function inHalves(zone: string, ids: readonly string[], ask: Parameters<typeof describeZone>[2]): Promise<Look> {
  const middle = Math.ceil(ids.length / 2);
  const first = await describeZone(zone, ids.slice(0, middle), ask);
  // In a zone that is out the rest would fail as slowly.
  if (!first.isAnswered && zone !== UNKNOWN_ZONE) return first;
  const rest = await describeZone(zone, ids.slice(middle), ask);
  return {
    observed: [...first.observed, ...rest.observed],
    isAnswered: first.isAnswered || rest.isAnswered,
    isWhole: first.isWhole && rest.isWhole,
  };
}

function idsOf(instances: readonly Located[]): string[] {
  return instances.map(({ id }) => id);
}
