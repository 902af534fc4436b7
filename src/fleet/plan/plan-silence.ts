import type { Ec2Health } from '../../aws/ec2-types.js';

export type SilentInstance = { readonly id: string; readonly lastSeenAt: Date };

export type SilenceInput = {
  /** Instances with a living attempt whose agents have not been heard for SILENT_SECONDS. */
  readonly silent: readonly SilentInstance[];
  /** All instances with a living attempt. */
  readonly total: number;
  /** Start of our own current reachable period: before, no agent could have reached us. */
  readonly listeningSince: Date;
  /** EC2's own checks of the silent; missing = EC2 did not return them. */
  readonly health: ReadonlyMap<string, Ec2Health>;
  readonly now: Date;
};

export type SilencePlan = {
  /** So many at once that it must be us: no job is healed, and silence counts from now again. */
  readonly isCutOff: boolean;
  readonly unreachable: readonly { instanceId: string; reason: 'checks-impaired' | 'silent-too-long' }[];
};

/**
 * Several polls and their backoff (25 s + 15 s) missed, and the 10 s between two writes of who was seen (agent/agents.ts).
 * The alert about silent agents (deploy/prometheus/alerts.yml) has this number too, and FEW and SHARE below.
 */
export const SILENT_SECONDS = 90;
/** While EC2's checks pass, the container most likely runs: so long, replacing it costs more than a dead agent. */
export const SILENT_TOO_LONG_SECONDS = 1800;
const FEW = 3;
const SHARE = 0.2;

/** Instances whose EC2 checks are needed; none while we are cut off, or have not listened long enough. */
export function instancesToCheck(input: Omit<SilenceInput, 'health'>): readonly string[] {
  return isCutOff(input) ? [] : longSilent(input).map(({ id }) => id);
}

/** Silence alone is no reason to replace a container: our own outage looks the same. */
export function planSilence(input: SilenceInput): SilencePlan {
  if (isCutOff(input)) return { isCutOff: true, unreachable: [] };
  const isSomebodyHeard = input.silent.length < input.total;
  const unreachable = longSilent(input).flatMap((instance): SilencePlan['unreachable'] => {
    const instanceId = instance.id;
    const health = input.health.get(instanceId);
    if (health === 'impaired') return [{ instanceId, reason: 'checks-impaired' }];
    // Unknown is not a reason: a describe fails just when a zone is in trouble.
    const isTooLong =
      isSomebodyHeard && health !== undefined && quietSeconds(instance, input) >= SILENT_TOO_LONG_SECONDS;
    return isTooLong ? [{ instanceId, reason: 'silent-too-long' }] : [];
  });
  return { isCutOff: false, unreachable };
}

function isCutOff({ silent, total }: Pick<SilenceInput, 'silent' | 'total'>): boolean {
  return silent.length > Math.max(FEW, SHARE * total);
}

function longSilent(input: Omit<SilenceInput, 'health'>): SilentInstance[] {
  return input.silent.filter((instance) => quietSeconds(instance, input) >= SILENT_SECONDS);
}

function quietSeconds({ lastSeenAt }: SilentInstance, { listeningSince, now }: Omit<SilenceInput, 'health'>): number {
  return (now.getTime() - Math.max(lastSeenAt.getTime(), listeningSince.getTime())) / 1000;
}
