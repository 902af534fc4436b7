import type { Ec2Instance } from '../../aws/ec2-types.js';
import type { InstanceState } from '../instance.entity.js';

/** The columns of a row that a sweep compares. */
export type KnownInstance = {
  readonly id: string;
  readonly state: InstanceState;
  readonly stateReason: string | null;
  readonly availabilityZone: string | null;
  readonly instanceType: string | null;
  readonly imageId: string | null;
  readonly privateIp: string | null;
  readonly publicIp: string | null;
  readonly launchedAt: Date;
  readonly observedAt: Date | null;
  readonly missingSince: Date | null;
  readonly terminatedAt: Date | null;
  readonly retireReason: string | null;
  readonly quarantined: boolean;
};

export type SweepInput = {
  /** All that EC2 returned; each instance once. */
  readonly observed: readonly Ec2Instance[];
  /** Rows of what was observed, and every living row the describe should have shown. */
  readonly known: readonly KnownInstance[];
  /** Of the launches that the observed tags name, those with a row. */
  readonly launches: ReadonlySet<string>;
  /** Ids that were also described by id, and are absent from that complete answer, too. */
  readonly absent: ReadonlySet<string>;
  readonly tagKeys: { readonly cluster: string; readonly launch: string };
  readonly cluster: string;
  /** When the first page was requested: later instances may be absent from it without being missing. */
  readonly startedAt: Date;
  /** When the last answer arrived. */
  readonly now: Date;
};

export type SweepPlan = {
  /** EC2 has it, we have its launch: the row was not written, normal rules decide. */
  readonly inserts: readonly { instance: Ec2Instance; launchId: string }[];
  /** EC2 has it with our tag, and its launch has no row: data was lost. The fleet never terminates it by itself. */
  readonly quarantines: readonly Ec2Instance[];
  readonly updates: readonly InstanceUpdate[];
};

/** New values of a row. `isChange`: it has values that jobs may depend on, not only the time of the look. */
export type InstanceUpdate = Omit<
  KnownInstance,
  'launchedAt' | 'observedAt' | 'terminatedAt' | 'retireReason' | 'quarantined'
> & {
  readonly observed: boolean;
  readonly isOver: boolean;
  readonly retireReason: 'stopped-outside' | 'reappeared' | null;
  readonly isChange: boolean;
};

/** Rows younger than this are not expected in a describe: EC2 is eventually consistent. */
export const VISIBILITY_SECONDS = 120;
/** Two complete describes at least this far apart must lack an instance … */
const MISSING_SECONDS = 60;
/** … and it must be this old. Less could call an instance gone that a partition of EC2's index hides for minutes. */
const GONE_AGE_SECONDS = 600;
/** Writing «still there» for every row at every sweep would rewrite the table each minute. */
const OBSERVED_SECONDS = 600;

/** Compares EC2 and the database in both directions. */
export function planSweep(input: SweepInput): SweepPlan {
  const known = new Map(input.known.map((row) => [row.id, row]));
  const strangers = input.observed.filter(
    ({ id, state, tags }) => !known.has(id) && state !== 'terminated' && tags[input.tagKeys.cluster] === input.cluster,
  );
  const launchOf = ({ tags }: Ec2Instance) => tags[input.tagKeys.launch] ?? '';
  return {
    inserts: strangers
      .filter((instance) => input.launches.has(launchOf(instance)))
      .map((instance) => ({ instance, launchId: launchOf(instance) })),
    quarantines: strangers.filter((instance) => !input.launches.has(launchOf(instance))),
    updates: [
      ...input.observed.flatMap((instance) => updateSeen(known.get(instance.id), instance, input.now) ?? []),
      ...input.known.filter(({ id }) => input.absent.has(id)).flatMap((row) => updateMissing(row, input) ?? []),
    ],
  };
}

function updateSeen(row: KnownInstance | undefined, seen: Ec2Instance, now: Date): InstanceUpdate | null {
  if (!row) return null;
  const state = nextState(row.state, seen.state);
  const isOver = state === 'terminated' || state === 'gone';
  const facts = {
    state,
    stateReason: seen.stateReason ?? row.stateReason,
    availabilityZone: seen.availabilityZone ?? row.availabilityZone,
    instanceType: seen.type ?? row.instanceType,
    imageId: seen.imageId ?? row.imageId,
    // EC2 drops the addresses at termination; history keeps them.
    privateIp: seen.privateIp ?? row.privateIp,
    // While it runs, an address that it lost (an Elastic IP) may belong to another instance by now.
    publicIp: seen.state === 'running' ? seen.publicIp : (seen.publicIp ?? row.publicIp),
  };
  const retireReason = outsideReason(row, state);
  const isChange =
    retireReason !== null ||
    row.missingSince !== null ||
    (isOver && row.terminatedAt === null) ||
    Object.entries(facts).some(([key, value]) => row[key as keyof typeof facts] !== value);
  if (!isChange && (isOver || isRecent(row.observedAt, now))) return null;
  return { id: row.id, ...facts, observed: true, missingSince: null, isOver, retireReason, isChange };
}

/** Whether a describe that began then should have shown it. */
export function isExpected({ terminatedAt, launchedAt }: KnownInstance, startedAt: Date): boolean {
  return terminatedAt === null && launchedAt < before(startedAt, VISIBILITY_SECONDS);
}

function updateMissing(row: KnownInstance, { startedAt, now }: SweepInput): InstanceUpdate | null {
  if (!isExpected(row, startedAt)) return null;
  const isGone =
    row.missingSince !== null &&
    row.missingSince <= before(startedAt, MISSING_SECONDS) &&
    row.launchedAt <= before(startedAt, GONE_AGE_SECONDS);
  if (!isGone && row.missingSince !== null) return null;
  return {
    ...row,
    state: isGone ? 'gone' : row.state,
    observed: false,
    missingSince: row.missingSince ?? now,
    isOver: isGone,
    retireReason: null,
    isChange: isGone,
  };
}

/** An answer may be from an older copy of EC2's index: a state never goes back. */
function nextState(from: InstanceState, to: Ec2Instance['state']): InstanceState {
  if (from === 'terminated') return from;
  if (from === 'shutting-down') return to === 'terminated' ? to : from;
  if (to === 'pending' && (from === 'running' || from === 'stopping')) return from;
  return to;
}

function outsideReason(row: KnownInstance, state: InstanceState): InstanceUpdate['retireReason'] {
  if (row.quarantined || row.retireReason !== null) return null;
  // Its attempt was healed elsewhere when it was called gone.
  if (row.state === 'gone' && state !== 'terminated') return 'reappeared';
  return state === 'stopping' || state === 'stopped' ? 'stopped-outside' : null;
}

function isRecent(at: Date | null, now: Date): boolean {
  return at !== null && at > before(now, OBSERVED_SECONDS);
}

function before(now: Date, seconds: number): Date {
  return new Date(now.getTime() - seconds * 1000);
}
