/** Phases of an attempt, in the order of its life. */
export const ATTEMPT_PHASES = ['waiting', 'assigned', 'pulling', 'starting', 'healthy', 'stopping', 'ended'] as const;
export type AttemptPhase = (typeof ATTEMPT_PHASES)[number];

/** Which phase may follow which; every phase may end. */
export const ATTEMPT_TRANSITIONS: Readonly<Record<AttemptPhase, readonly AttemptPhase[]>> = {
  waiting: ['assigned', 'ended'],
  assigned: ['pulling', 'stopping', 'ended'],
  pulling: ['starting', 'stopping', 'ended'],
  starting: ['healthy', 'stopping', 'ended'],
  healthy: ['stopping', 'ended'],
  stopping: ['ended'],
  ended: [],
};

/**
 * Longest stay in a phase, in seconds, after which the attempt is given up. `null`: bounded by the deployment's own
 * deadline (waiting, starting) or meant to last (healthy). Too short costs a fresh instance, too long a stuck job.
 */
export const ATTEMPT_DEADLINE_SECONDS: Readonly<Record<AttemptPhase, number | null>> = {
  waiting: null,
  // An agent with a parked poll takes an order within milliseconds; 15 s leave time for a poll that was lost.
  assigned: 15,
  pulling: 1800,
  starting: null,
  healthy: null,
  // On top of the job's stopGraceSeconds: the agent's answer is on its way.
  stopping: 30,
  ended: null,
};

export function isLive(phase: AttemptPhase): boolean {
  return phase !== 'ended';
}
