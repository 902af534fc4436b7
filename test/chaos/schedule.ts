import { createRandom, type Random } from '../../local/cloud/random.ts';

// When which fault comes: drawn from the seed alone, so that a failed run can be run again. What a fault meets is the
// machine's doing: two runs of one seed have the same faults, not the same interleaving.

/** Kind and how often it comes, in relation to the others. */
const WEIGHTS = {
  // Processes
  'replica-killed': 5,
  'replica-paused': 3,
  'all-replicas-killed': 1,
  // Postgres
  'postgres-restarted': 1,
  'postgres-crashed': 1,
  'connections-cut': 2,
  // EC2
  'run-answer-lost': 6,
  'terminate-answer-lost': 4,
  'tag-answer-lost': 1,
  'describe-answer-lost': 2,
  'answer-late': 4,
  throttled: 5,
  'call-failed': 6,
  'capacity-gone': 3,
  'capacity-short': 3,
  'type-not-offered': 2,
  'zone-out': 2,
  'addresses-short': 1,
  'ended-at-launch': 2,
  'action-denied': 1,
  'visibility-late': 4,
  // Instances
  'instance-killed': 7,
  'instance-terminated-by-hand': 3,
  'instance-rebooted': 5,
  'instance-stopped': 3,
  'instance-frozen': 4,
  'spot-notice': 3,
  'agent-killed': 5,
  'docker-broken': 3,
  'memory-exhausted': 4,
  'program-failed': 3,
  // The way between agents and us
  'agent-cut-off': 5,
  'agent-answers-lost': 4,
  'agent-requests-repeated': 4,
} as const;

export type FaultKind = keyof typeof WEIGHTS;
export const FAULT_KINDS = Object.keys(WEIGHTS) as FaultKind[];

export type PlannedFault = {
  /** From the start of the run. */
  readonly atMs: number;
  readonly kind: FaultKind;
  /** Seed of what the fault itself draws: which one, how long. */
  readonly seed: number;
};

export function drawSchedule(seed: number, durationMs: number, faultsPerMinute: number): PlannedFault[] {
  const random = createRandom(seed);
  const count = Math.round((durationMs / 60_000) * faultsPerMinute);
  const times = Array.from({ length: count }, () => Math.floor(random.fraction() * durationMs)).sort((a, b) => a - b);
  return times.map((atMs) => ({ atMs, kind: drawKind(random), seed: random.between(1, 2 ** 31) }));
}

function drawKind(random: Random): FaultKind {
  const total = Object.values(WEIGHTS).reduce((sum, weight) => sum + weight, 0);
  let left = random.fraction() * total;
  return FAULT_KINDS.find((kind) => (left -= WEIGHTS[kind]) < 0) ?? 'instance-killed';
}
