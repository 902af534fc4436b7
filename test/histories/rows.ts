import type { OrderSpec } from '../../src/docker/order.ts';
import { NO_ANSWER } from '../../src/docker/order-answer.ts';
import type { AwsErrorKind } from '../../src/aws/aws-error.ts';
import type { ShapeSpec } from '../../src/deployments/shape-spec.ts';
import type { CapacityState, LaunchView, Offer } from '../../src/fleet/plan/plan-capacity.ts';
import type { Verdict } from '../../src/fleet/plan/plan-fleet.ts';
import type { KnownInstance } from '../../src/fleet/plan/plan-sweep.ts';
import type {
  AttemptFacts,
  DeploymentFacts,
  JobFacts,
  JobPlan,
  OrderFacts,
} from '../../src/scheduler/plan/plan-facts.ts';
import { spotNoticedAt } from '../../src/scheduler/plan/plan-order.ts';

// The tables, as far as planners read and write them. Each function here stands for one statement of
// apply-job-plans.ts, apply-fleet-plans.ts, load-jobs.ts or load-shapes.ts, with the same conditions.

type Mutable<T> = { -readonly [Key in keyof T]: T[Key] };

export type JobRow = {
  readonly id: string;
  desiredState: JobFacts['desiredState'];
  status: JobFacts['status'];
  activeDeploymentId: string | null;
  nextPassAt: Date | null;
  isGone: boolean;
};
export type DeploymentRow = Mutable<Omit<DeploymentFacts, 'attempts' | 'endedAttempts'>> & { readonly jobId: string };
export type AttemptRow = Mutable<Omit<AttemptFacts, 'instance' | 'orders' | 'verdict'>> & {
  readonly jobId: string;
  readonly deploymentId: string;
  readonly priority: number;
  assignment: { readonly instanceId: string; readonly at: Date } | null;
};
export type OrderRow = Mutable<OrderFacts> & {
  readonly instanceId: string;
  readonly attemptId: string;
  readonly spec: OrderSpec;
};
export type InstanceRow = Mutable<KnownInstance> & {
  launchId: string | null;
  shapeKey: string | null;
  registeredAt: Date | null;
  lastSeenAt: Date | null;
  unreachableAt: Date | null;
  retiredAt: Date | null;
  terminateCalledAt: Date | null;
  isAssigned: boolean;
};
export type LaunchRow = {
  readonly id: string;
  readonly shapeKey: string;
  readonly count: number;
  readonly offer: Offer;
  /** The complete call, as a repeat must send it. */
  readonly input: string;
  readonly createdAt: Date;
  status: LaunchView['status'];
  tries: number;
  failure: AwsErrorKind | null;
  reason: string | null;
  message: string | null;
  calledAt: Date | null;
  nextTryAt: Date | null;
};
export type ShapeRow = {
  readonly key: string;
  readonly spec: ShapeSpec;
  capacity: CapacityState;
  verdict: Verdict | null;
  warm: number;
  nextPassAt: Date | null;
};

export type RouteRow = { readonly host: string; jobId: string; removedAt: Date | null };

/** Every job of the model may have an address below it. */
export const DOMAIN = 'jobs.test';
export const HOST_RULES = { domains: ['own.test'], reserved: ['api.own.test'] };
/** Of a setting that is not the default. */
export const LATE_CALLER_SECONDS = 41;

export class Rows {
  readonly jobs = new Map<string, JobRow>();
  readonly deployments = new Map<string, DeploymentRow>();
  readonly attempts = new Map<string, AttemptRow>();
  private readonly attemptsByDeployment = new Map<string, AttemptRow[]>();
  private readonly attemptByInstance = new Map<string, AttemptRow>();
  /** Of one attempt, by number. */
  readonly orders = new Map<string, OrderRow[]>();
  readonly instances = new Map<string, InstanceRow>();
  readonly launches = new Map<string, LaunchRow>();
  readonly shapes = new Map<string, ShapeRow>();
  readonly routes = new Map<string, RouteRow>();

  deploymentsOf(jobId: string): DeploymentRow[] {
    return [...this.deployments.values()].filter((deployment) => deployment.jobId === jobId);
  }

  attemptsOf(deploymentId: string): AttemptRow[] {
    return this.attemptsByDeployment.get(deploymentId) ?? [];
  }

  liveAttempts(): AttemptRow[] {
    return [...this.attempts.values()].filter(({ phase }) => phase !== 'ended');
  }

  ordersOf(attemptId: string): OrderRow[] {
    return this.orders.get(attemptId) ?? [];
  }

  attemptOn(instanceId: string): AttemptRow | undefined {
    return this.attemptByInstance.get(instanceId);
  }

  assign(attempt: AttemptRow, instanceId: string, at: Date): void {
    attempt.assignment = { instanceId, at };
    this.attemptByInstance.set(instanceId, attempt);
  }

  openLaunches(): LaunchRow[] {
    return [...this.launches.values()].filter(isOpen);
  }

  /** Waiting attempts of a shape without an instance. */
  inLine(shapeKey: string): AttemptRow[] {
    return [...this.attempts.values()].filter(
      (attempt) => attempt.phase === 'waiting' && attempt.shapeKey === shapeKey && attempt.assignment === null,
    );
  }

  wakeJob(id: string, now: Date): void {
    const job = this.jobs.get(id);
    if (job && !job.isGone) job.nextPassAt = earlier(job.nextPassAt, now);
  }

  wakeShape(key: string | null, now: Date): void {
    const shape = key === null ? undefined : this.shapes.get(key);
    if (shape) shape.nextPassAt = earlier(shape.nextPassAt, now);
  }

  /** What claimJobs loads. */
  jobFacts(job: JobRow): JobFacts {
    const deployments = this.deploymentsOf(job.id);
    return {
      id: job.id,
      name: job.id,
      cluster: 'ours',
      domain: DOMAIN,
      hostRules: HOST_RULES,
      lateCallerSeconds: LATE_CALLER_SECONDS,
      hosts: this.hostsOf(job.id),
      desiredState: job.desiredState,
      status: job.status,
      activeDeploymentId: job.activeDeploymentId,
      latestStatus: deployments.at(-1)?.status ?? null,
      lingeringInstances: job.desiredState === 'deleted' ? this.lingering(job.id) : 0,
      deployments: deployments.flatMap((deployment) => {
        const attempts = this.attemptsOf(deployment.id);
        const live = attempts.filter(({ phase }) => phase !== 'ended');
        if (deployment.endedAt && live.length === 0) return [];
        return {
          ...deployment,
          attempts: live.map((attempt) => this.attemptFacts(attempt)),
          endedAttempts: attempts
            .filter(({ phase }) => phase === 'ended')
            .slice(-ENDED_ATTEMPTS)
            .flatMap((attempt) => {
              const { number, reason, message, counted, healthyAt, endedAt } = attempt;
              if (!endedAt) return [];
              const noticedAt = spotNoticedAt({ orders: this.ordersOf(attempt.id) });
              return [{ number, reason, message, counted, healthyAt, noticedAt, endedAt }];
            }),
        };
      }),
    };
  }

  /** What applyJobPlans writes of one job. */
  applyJobPlan(job: JobRow, plan: JobPlan, now: Date): void {
    const { status, activeDeploymentId, isGone, nextPassAt } = plan;
    Object.assign(job, { status, activeDeploymentId, isGone, nextPassAt });
    this.changeHosts(job.id, plan.hosts, now);
    for (const row of plan.deployments) assignColumns(this.deployments.get(row.id), row);
    for (const row of plan.attempts) {
      assignColumns(this.attempts.get(row.id), row);
      if (row.phase === 'ended') this.wakeShape(row.shapeKey, now);
    }
    for (const { deploymentId, number, spec, priority, reason } of plan.newAttempts) {
      const shapeKey = JSON.stringify(spec);
      if (!this.shapes.has(shapeKey)) this.shapes.set(shapeKey, newShape(shapeKey, spec));
      const id = `${deploymentId}a${number}`;
      const attempt = newAttempt({ id, jobId: job.id, deploymentId, number, shapeKey, priority, reason, now });
      this.attempts.set(id, attempt);
      this.attemptsByDeployment.set(deploymentId, [...this.attemptsOf(deploymentId), attempt]);
      this.wakeShape(shapeKey, now);
    }
    for (const { attemptId, instanceId, number, purpose, spec } of plan.orders) {
      const orders = this.ordersOf(attemptId);
      const order = { number, purpose, spec, instanceId, attemptId, createdAt: now, ...UNANSWERED };
      this.orders.set(attemptId, [...orders, order]);
    }
  }

  private attemptFacts({ assignment, ...attempt }: AttemptRow): AttemptFacts {
    const row = assignment && this.instances.get(assignment.instanceId);
    const verdict = row ? null : (this.shapes.get(attempt.shapeKey)?.verdict ?? null);
    const orders = this.ordersOf(attempt.id);
    const forgotten = new Set(
      Object.entries(LATEST).flatMap(([repeated, count]) =>
        orders.filter(({ purpose }) => purpose === repeated).slice(0, -count),
      ),
    );
    return {
      ...attempt,
      instance: row
        ? {
            id: row.id,
            assignedAt: assignment.at,
            state: row.state,
            stateReason: row.stateReason,
            privateIp: row.privateIp,
            imageId: row.imageId,
            unreachableAt: row.unreachableAt,
            retireReason: row.retireReason,
            // Histories adopt nothing.
            isAdopted: false,
            ordersAfter: 0,
            // EC2 gives no address of the model twice.
            addressFreeAt: null,
          }
        : null,
      orders: orders
        .filter((order) => !forgotten.has(order))
        .map((order) => (isUsed(order, attempt) ? order : { ...order, answer: NO_ANSWER })),
      verdict,
    };
  }

  hostsOf(jobId: string): string[] {
    const own = [...this.routes.values()].filter((route) => route.jobId === jobId && !route.removedAt);
    return own.map(({ host }) => host).toSorted();
  }

  private changeHosts(jobId: string, { added, removed }: JobPlan['hosts'], now: Date): void {
    for (const host of removed) {
      const route = this.routes.get(host);
      if (route?.jobId === jobId) route.removedAt ??= now;
    }
    for (const host of added) {
      const route = this.routes.get(host);
      const isFree = !route?.removedAt || now.getTime() - route.removedAt.getTime() >= LATE_CALLER_SECONDS * 1000;
      if (!route || route.jobId === jobId || (route.removedAt && isFree)) {
        this.routes.set(host, { host, jobId, removedAt: null });
      }
    }
  }

  private lingering(jobId: string): number {
    return [...this.attempts.values()].filter((attempt) => {
      if (attempt.jobId !== jobId || !attempt.assignment) return false;
      const row = this.instances.get(attempt.assignment.instanceId);
      return row?.terminatedAt === null && !row.quarantined;
    }).length;
  }
}

/** Whether a plan can still use the answer. */
function isUsed({ purpose }: OrderRow, { phase }: Pick<AttemptRow, 'phase'>): boolean {
  if (purpose === 'pull' || purpose === 'inspect-image') return ['waiting', 'assigned', 'pulling'].includes(phase);
  return purpose !== 'logs' || phase !== 'stopping';
}

export function isOpen({ status }: { status: LaunchView['status'] }): boolean {
  return status === 'planned' || status === 'unknown';
}

export function earlier(a: Date | null, b: Date): Date {
  return a && a < b ? a : b;
}

/** Only columns the row has: a plan carries facts with their children. */
function assignColumns(row: object | undefined, values: object): void {
  if (!row) throw new Error('the plan names an unknown row');
  for (const [key, value] of Object.entries(values)) if (key in row) Reflect.set(row, key, value);
}

function newShape(key: string, spec: ShapeSpec): ShapeRow {
  return { key, spec, capacity: {}, verdict: null, warm: 0, nextPassAt: null };
}

function newAttempt({
  now,
  ...facts
}: Pick<AttemptRow, 'id' | 'jobId' | 'deploymentId' | 'number' | 'shapeKey' | 'priority' | 'reason'> & {
  now: Date;
}): AttemptRow {
  const times = {
    assignedAt: null,
    pullingAt: null,
    startingAt: null,
    healthyAt: null,
    unroutingAt: null,
    stoppingAt: null,
    endedAt: null,
    logsCompleteAt: null,
    ...{ reachPort: null, reachAskedAt: null, reachedAs: null },
    routedPort: null,
    unroutedAt: null,
  };
  return { ...facts, phase: 'waiting', message: null, counted: true, createdAt: now, ...times, assignment: null };
}

/** Of orders that are repeated only the latest are loaded, and of ended attempts. */
const LATEST = { wait: 8, 'inspect-exit': 8, 'inspect-container': 1 };
const ENDED_ATTEMPTS = 20;

const UNANSWERED = { takenAt: null, answeredAt: null, status: null, error: null, answer: NO_ANSWER, probeState: null };
