import type { OrderSpec } from '../../docker/order.js';
import type { OrderAnswer } from '../../docker/order-answer.js';
import type { AttemptPhase } from '../../deployments/attempt-status.js';
import type { DeploymentStatus, DeploymentTrigger } from '../../deployments/deployment-status.js';
import type { LogLine } from '../../deployments/log-line.js';
import type { ShapeSpec } from '../../deployments/shape-spec.js';
import type { JobDefinition } from '../../jobs/job-definition.js';
import type { Origin } from '../../process/origin.js';
import type { DesiredState, JobStatus } from '../../jobs/job-status.js';

// Input and output of the job planner. Facts are rows as loaded under the job row's lock; a plan is the rows' new
// values.

export type JobFacts = {
  readonly id: string;
  readonly name: string;
  readonly cluster: string;
  readonly desiredState: DesiredState;
  readonly status: JobStatus;
  readonly activeDeploymentId: string | null;
  /** Status of the latest deployment, also when it ended long ago; null = there was none. */
  readonly latestStatus: DeploymentStatus | null;
  /** Those not ended, and those with an attempt not ended; by number. */
  readonly deployments: readonly DeploymentFacts[];
  /** Instances of this job's ended attempts that no look at EC2 has shown terminated yet. */
  readonly lingeringInstances: number;
};

export type DeploymentFacts = {
  readonly id: string;
  readonly number: number;
  readonly image: string;
  readonly imageDigest: string | null;
  readonly imageId: string | null;
  readonly definition: JobDefinition;
  /** Version of the secrets that its containers get; null = no secrets. */
  readonly secretsVersion: number | null;
  readonly trigger: DeploymentTrigger;
  readonly origin: Origin | null;
  readonly status: DeploymentStatus;
  readonly reason: string | null;
  readonly message: string | null;
  readonly failedPhase: AttemptPhase | null;
  readonly retryable: boolean | null;
  readonly exitCode: number | null;
  readonly lastLogLines: readonly LogLine[] | null;
  readonly deadlineAt: Date | null;
  readonly cancelRequestedAt: Date | null;
  readonly createdAt: Date;
  readonly startedAt: Date | null;
  readonly activeAt: Date | null;
  readonly endedAt: Date | null;
  /** Not ended; by number. */
  readonly attempts: readonly AttemptFacts[];
  /** Ended, the latest 20; by number. */
  readonly endedAttempts: readonly EndedAttemptFacts[];
};

export type EndedAttemptFacts = {
  readonly number: number;
  readonly reason: string | null;
  readonly message: string | null;
  readonly counted: boolean;
  readonly healthyAt: Date | null;
  /** When EC2 gave notice that it takes its spot instance back; null = it did not. */
  readonly noticedAt: Date | null;
  readonly endedAt: Date;
};

export type AttemptFacts = {
  readonly id: string;
  readonly number: number;
  readonly shapeKey: string;
  readonly phase: AttemptPhase;
  readonly reason: string | null;
  readonly message: string | null;
  readonly counted: boolean;
  readonly createdAt: Date;
  readonly assignedAt: Date | null;
  readonly pullingAt: Date | null;
  readonly startingAt: Date | null;
  readonly healthyAt: Date | null;
  readonly stoppingAt: Date | null;
  readonly endedAt: Date | null;
  /** When all lines of its container were stored; null = not yet. */
  readonly logsCompleteAt: Date | null;
  /** Given by the fleet; null while waiting. */
  readonly instance: InstanceFacts | null;
  /** Orders of its instance; by number. */
  readonly orders: readonly OrderFacts[];
  /** The fleet's verdict on the shape it waits for; null = no trouble. */
  readonly verdict: VerdictFacts | null;
};

export type InstanceFacts = {
  readonly id: string;
  readonly assignedAt: Date;
  readonly state: string;
  readonly stateReason: string | null;
  readonly privateIp: string | null;
  readonly imageId: string | null;
  readonly unreachableAt: Date | null;
  readonly retireReason: string | null;
  /** Its container ran before this attempt: the API may not end it until the attempt has been healthy. */
  readonly isAdopted?: boolean;
  /** Number of the last order its agent had when it was adopted. */
  readonly ordersAfter?: number;
};

export type VerdictFacts = {
  readonly reason: string;
  readonly message: string;
  readonly at: Date;
  /** EC2 refuses for good: waiting cannot help. */
  readonly isFinal: boolean;
};

/** What an order is for; by it the planner finds its own orders. */
export const ORDER_PURPOSES = [
  'dead-man',
  'watch-spot',
  'pull',
  'inspect-image',
  'create',
  'start',
  'wait',
  'probe',
  'logs',
  'follow-logs',
  'flush-logs',
  'inspect-container',
  'inspect-exit',
  'restart-policy',
  'stop',
] as const;
export type OrderPurpose = (typeof ORDER_PURPOSES)[number];

export type OrderFacts = {
  readonly number: number;
  readonly purpose: OrderPurpose;
  readonly createdAt: Date;
  readonly takenAt: Date | null;
  readonly answeredAt: Date | null;
  /** Docker's HTTP status; 0 = Docker could not be reached or did not answer in time. */
  readonly status: number | null;
  readonly error: string | null;
  /** Empty if the answer has nothing of use. */
  readonly answer: OrderAnswer;
  readonly probeState: 'healthy' | 'unhealthy' | null;
};

/** The rows of one job after this pass; only rows that change are in it. */
export type JobPlan = {
  readonly status: JobStatus;
  readonly activeDeploymentId: string | null;
  /** Nothing of the job is left: its name is free again. */
  readonly isGone: boolean;
  readonly nextPassAt: Date | null;
  readonly deployments: readonly DeploymentRow[];
  readonly attempts: readonly AttemptRow[];
  readonly newAttempts: readonly NewAttempt[];
  readonly orders: readonly NewOrder[];
};

export type DeploymentRow = Omit<
  DeploymentFacts,
  | 'number'
  | 'image'
  | 'definition'
  | 'secretsVersion'
  | 'trigger'
  | 'origin'
  | 'cancelRequestedAt'
  | 'createdAt'
  | 'attempts'
  | 'endedAttempts'
>;

export type AttemptRow = Omit<AttemptFacts, 'number' | 'createdAt' | 'instance' | 'orders' | 'verdict'>;

export type NewAttempt = {
  readonly deploymentId: string;
  readonly number: number;
  readonly spec: ShapeSpec;
  /** 0 healing, 1 rollback, 2 api, 3 schedule: lower is served first. */
  readonly priority: number;
  readonly reason: string;
};

export type NewOrder = {
  readonly instanceId: string;
  readonly attemptId: string;
  readonly number: number;
  readonly purpose: OrderPurpose;
  readonly spec: OrderSpec;
};
