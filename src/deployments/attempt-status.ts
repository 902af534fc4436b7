/** Phases of an attempt, in the order of its life. */
export const ATTEMPT_PHASES = [
  'waiting',
  'assigned',
  'pulling',
  'starting',
  'healthy',
  'unrouting',
  'stopping',
  'ended',
] as const;
export type AttemptPhase = (typeof ATTEMPT_PHASES)[number];

/** Which phase may follow which; every phase may end. */
export const ATTEMPT_TRANSITIONS: Readonly<Record<AttemptPhase, readonly AttemptPhase[]>> = {
  waiting: ['assigned', 'ended'],
  assigned: ['pulling', 'stopping', 'ended'],
  pulling: ['starting', 'stopping', 'ended'],
  starting: ['healthy', 'stopping', 'ended'],
  healthy: ['stopping', 'unrouting', 'ended'],
  unrouting: ['stopping', 'ended'],
  stopping: ['ended'],
  ended: [],
};

/**
 * Longest time in a phase, in seconds, after which the attempt is given up. `null`: bounded by the deployment's own
 * deadline (waiting, starting), by the job (unrouting), or meant to last (healthy). Too short costs a fresh instance, too
 * long a stuck job.
 */
export const ATTEMPT_DEADLINE_SECONDS = {
  waiting: null,
  // An agent with a parked poll takes an order within milliseconds; 15 s leave time for a poll that was lost.
  assigned: 15,
  pulling: 1800,
  starting: null,
  healthy: null,
  // Its time is lateCallerSeconds and the job's drainSeconds (plan-unrouting.ts).
  unrouting: null,
  // In addition to the job's stopGraceSeconds: time for the agent's report.
  stopping: 30,
  ended: null,
} as const satisfies Readonly<Record<AttemptPhase, number | null>>;

/**
 * An agent that could not reach the API tries again after 22.5 s at the latest (`back_off` in agent.sh); a shorter time
 * would blame agents for our own outage, and each such verdict costs an instance.
 */
export const AGENT_RETURN_SECONDS = 25;
