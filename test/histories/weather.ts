/** How kind the world is to us now; a history changes it as it goes. Times in milliseconds. */
export type Weather = {
  /** What becomes of the next calls of RunInstances, in turn; then they succeed. */
  runs: RunFault[];
  describes: 'answered' | 'failing';
  terminates: 'answered' | 'failing' | 'answer-lost';
  /** How long what a call made stays invisible to describes. Less than the window the planners allow for. */
  visibilityMs: number;
  /** How old the copy of EC2's index is that describes read. */
  lagMs: number;
  /** Whether EC2 ends what it launches before it runs, as when the key of its disk may not be used. */
  launches: 'live' | 'end-at-once';
  answerMs: number;
  /** From running to the agent's first request; Infinity = it never comes. */
  bootMs: number;
  /** From an order to its answer. */
  agentMs: number;
  /** Whether registered agents carry out the orders that are new to them. */
  agents: 'obey' | 'take-nothing';
  /** Whether EC2 takes spot instances back as soon as they serve, with its two minutes of notice. */
  spot: 'kept' | 'noticed-at-once';
  docker: 'works' | 'refuses' | 'absent' | 'no-image';
  container: 'runs' | 'exits-at-once' | 'exits-after-20s' | 'unhealthy';
  /** Until a process beside the ingress has connected to a port that serves. */
  reachMs: number;
  /** An answer of an agent gets lost, and comes with its repeat. */
  losesAnswers: boolean;
  /** How late our own passes are. */
  lateMs: number;
};

export type RunFault =
  | 'answered'
  | 'answer-lost'
  | 'late'
  | 'error-without-effect'
  | 'throttled'
  | 'capacity'
  | 'quota'
  | 'address'
  | 'account'
  | 'permission'
  | 'partial';

export function fairWeather(): Weather {
  return {
    runs: [],
    describes: 'answered',
    terminates: 'answered',
    visibilityMs: 0,
    lagMs: 0,
    launches: 'live',
    answerMs: 300,
    bootMs: 20_000,
    agentMs: 50,
    agents: 'obey',
    spot: 'kept',
    docker: 'works',
    container: 'runs',
    reachMs: 20,
    losesAnswers: false,
    lateMs: 0,
  };
}
