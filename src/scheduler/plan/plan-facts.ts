import type { OrderSpec } from '../../docker/order.js';
import type { OrderAnswer } from '../../docker/order-answer.js';
import type { Attempt } from '../../deployments/attempt.entity.js';
import type { Deployment } from '../../deployments/deployment.entity.js';
import type { OUTCOME } from '../../deployments/deployment-columns.js';
import type { DeploymentStatus } from '../../deployments/deployment-status.js';
import type { LogLine } from '../../deployments/log-line.js';
import type { ShapeSpec } from '../../deployments/shape-spec.js';
import type { Job } from '../../jobs/job.entity.js';
import type { JobDefinition } from '../../jobs/job-definition.js';
import type { JobStatus } from '../../jobs/job-status.js';
import type { Place } from '../../jobs/route-rules.js';

// Input and output of the job planner. Facts are rows as loaded under the job row's lock; a plan is the rows' new
// values.

/** What the operator's settings say, for all jobs. */
export type Premises = Place & {
  readonly cluster: string;
  /** How long callers may still come to where a host led before. */
  readonly lateCallerSeconds: number;
};

export type JobFacts = Readonly<Pick<Job, 'id' | 'name' | 'desiredState' | 'status' | 'activeDeploymentId'>> &
  Premises & {
    /** Host names that lead to the job. */
    readonly hosts: readonly string[];
    /** Status of the latest deployment, also when it ended long ago; null = there was none. */
    readonly latestStatus: DeploymentStatus | null;
    /** Those not ended, and those with an attempt not ended; by number. */
    readonly deployments: readonly DeploymentFacts[];
    /** Instances of this job's ended attempts that no look at EC2 has shown terminated yet. */
    readonly lingeringInstances: number;
  };

export type DeploymentFacts = Readonly<
  Omit<Deployment, 'job' | 'jobId' | 'definition' | 'lastLogLines' | 'secretNames' | 'adopts' | 'copiedFrom'>
> & {
  readonly definition: JobDefinition;
  readonly lastLogLines: readonly LogLine[] | null;
  /** Not ended; by number. */
  readonly attempts: readonly AttemptFacts[];
  /** Ended, the latest 20; by number. */
  readonly endedAttempts: readonly EndedAttemptFacts[];
};

export type EndedAttemptFacts = Pick<AttemptFacts, 'number' | 'reason' | 'message' | 'counted' | 'healthyAt'> & {
  /** When EC2 gave notice that it takes its spot instance back; null = it did not. */
  readonly noticedAt: Date | null;
  readonly endedAt: Date;
};

export type AttemptFacts = Readonly<Omit<Attempt, 'jobId' | 'deployment' | 'deploymentId' | 'priority'>> & {
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
  /**
   * EC2 gives addresses again: until then callers of another job may still be led to this one's. Only of an attempt whose
   * container was not ordered yet.
   */
  readonly addressFreeAt?: Date | null;
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
  readonly hosts: HostChanges;
};

/** Names that are to lead to the job from now on, unless they are still another's, and those that no longer do. */
export type HostChanges = { readonly added: readonly string[]; readonly removed: readonly string[] };

export type DeploymentRow = Pick<DeploymentFacts, 'id' | 'imageDigest' | 'imageId' | keyof typeof OUTCOME>;

export type AttemptRow = Omit<AttemptFacts, 'number' | 'createdAt' | 'instance' | 'orders' | 'verdict'>;

export type NewAttempt = {
  readonly deploymentId: string;
  readonly number: number;
  readonly spec: ShapeSpec;
  /** Lower is served first: HEALING_PRIORITY of plan-active.ts, then PRIORITIES of plan-candidate.ts. */
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
