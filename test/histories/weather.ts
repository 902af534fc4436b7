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
  answerMs: number;
  /** From running to the agent's first word; Infinity = it never comes. */
  bootMs: number;
  /** From an order to its answer. */
  agentMs: number;
  docker: 'works' | 'refuses' | 'absent' | 'no-image';
  container: 'runs' | 'exits-at-once' | 'exits-after-20s' | 'unhealthy';
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
  | 'permission'
  | 'partial';

export function fairWeather(): Weather {
  return {
    runs: [],
    describes: 'answered',
    terminates: 'answered',
    visibilityMs: 0,
    lagMs: 0,
    answerMs: 300,
    bootMs: 20_000,
    agentMs: 50,
    docker: 'works',
    container: 'runs',
    losesAnswers: false,
    lateMs: 0,
  };
}
