import type { OrderSpec } from '../../src/docker/order.ts';
import { NO_ANSWER, readAnswer } from '../../src/docker/order-answer.ts';
import type { NewEvent } from '../../src/events/append-events.ts';
import { JobDefinition } from '../../src/jobs/job-definition.ts';
import type { HostRules } from '../../src/config/host-name.ts';
import { NO_HOSTS } from '../../src/jobs/route-rules.ts';
import type {
  AttemptFacts,
  DeploymentFacts,
  InstanceFacts,
  JobFacts,
  JobPlan,
  OrderFacts,
  OrderPurpose,
} from '../../src/scheduler/plan/plan-facts.ts';
import { eventsOf } from '../../src/scheduler/plan/plan-events.ts';
import { planJob } from '../../src/scheduler/plan/plan-job.ts';
import { spotNoticedAt } from '../../src/scheduler/plan/plan-order.ts';

type Mutable<T> = { -readonly [Key in keyof T]: T[Key] };
export type WorldOrder = Mutable<OrderFacts> & { spec: OrderSpec };
export type WorldAttempt = Omit<Mutable<AttemptFacts>, 'instance' | 'orders'> & {
  instance: Mutable<InstanceFacts> | null;
  orders: WorldOrder[];
};
export type WorldDeployment = Omit<Mutable<DeploymentFacts>, 'attempts' | 'endedAttempts'> & {
  attempts: WorldAttempt[];
};

/** An exit, a notice: answered when there is something to report. Logs are followed without an answer. */
const UNANSWERED_FOR_LONG: readonly OrderPurpose[] = ['wait', 'watch-spot', 'follow-logs'];
const START = Date.parse('2026-01-01T00:00:00Z');
/** As with the default settings. */
export const LATE_CALLER_SECONDS = 33;

/**
 * The rows of one job in memory, and everything around the planner: users, fleet and agents, moved by the test. Values
 * only, no clock and no randomness of its own.
 */
export class PlannerWorld {
  nowMs = START;
  /** Long before, unless a test lets our processes be away. */
  listeningSince = new Date(0);
  desiredState: JobFacts['desiredState'] = 'running';
  status: JobFacts['status'] = 'idle';
  activeDeploymentId: string | null = null;
  isGone = false;
  name = 'web';
  /** None, unless a test has addresses. */
  domain: string | null = null;
  hostRules: HostRules = NO_HOSTS;
  lateCallerSeconds = LATE_CALLER_SECONDS;
  hosts: string[] = [];
  /** Names that are still another job's. */
  readonly takenHosts = new Set<string>();
  /** As the sweep of EC2 sees them. */
  lingeringInstances = 0;
  nextPassAt: Date | null = new Date(START);
  deployments: WorldDeployment[] = [];
  lastPlan: JobPlan | undefined;
  readonly events: NewEvent[] = [];
  private instanceCount = 0;
  /** What a process beside the ingress finds at the port of an attempt; null = nothing, so far. */
  reaches: AttemptFacts['reachedAs'] = 'http';
  /** Of the instances that are assigned from now on. */
  addressFreeAt: Date | null = null;

  get now(): Date {
    return new Date(this.nowMs);
  }

  deploy(definition: object = {}, image = 'web:1'): WorldDeployment {
    const parsed = JobDefinition.parse(definition);
    const number = this.deployments.length + 1;
    const deployment: WorldDeployment = {
      id: `d${number}`,
      number,
      image,
      imageDigest: null,
      imageId: null,
      definition: parsed,
      secretsVersion: null,
      trigger: 'api',
      origin: null,
      status: 'queued',
      reason: null,
      message: null,
      failedPhase: null,
      retryable: null,
      exitCode: null,
      lastLogLines: null,
      deadlineAt: new Date(this.nowMs + parsed.rollout.deadlineSeconds * 1000),
      cancelRequestedAt: null,
      createdAt: this.now,
      startedAt: null,
      activeAt: null,
      endedAt: null,
      attempts: [],
    };
    this.deployments.push(deployment);
    this.desiredState = 'running';
    this.wake();
    return deployment;
  }

  wake(): void {
    this.nextPassAt = this.now;
  }

  /** Lets time pass, to the next wake-up at most, and runs the pass if it is due. */
  advance(seconds: number): void {
    this.nowMs += seconds * 1000;
    if (this.nextPassAt && this.nextPassAt.getTime() <= this.nowMs) this.pass();
  }

  pass(): JobPlan {
    const facts = this.facts();
    const plan = planJob(facts, this.now, this.listeningSince);
    const gained = plan.hosts.added.filter((host) => !this.takenHosts.has(host));
    this.events.push(...eventsOf(facts, plan, gained));
    this.apply(plan);
    this.lastPlan = plan;
    return plan;
  }

  /** Runs passes until none is due now. */
  settle(limit = 20): void {
    for (let passes = 0; this.nextPassAt && this.nextPassAt.getTime() <= this.nowMs; passes++) {
      if (passes === limit) throw new Error(`a plan wants another pass at once, ${limit} times in a row`);
      this.pass();
    }
  }

  assign(attempt: WorldAttempt): void {
    this.instanceCount += 1;
    attempt.instance = {
      id: `i-${this.instanceCount}`,
      assignedAt: this.now,
      state: 'running',
      stateReason: null,
      privateIp: `10.0.0.${this.instanceCount}`,
      imageId: 'ami-0123456789abcdef0',
      unreachableAt: null,
      retireReason: null,
      addressFreeAt: this.addressFreeAt,
    };
    this.wake();
  }

  answer(
    order: WorldOrder,
    status = goodStatus(order.purpose),
    body: string | Uint8Array = goodBody(order.purpose),
  ): void {
    order.takenAt ??= this.now;
    order.answeredAt = this.now;
    order.status = status;
    order.answer = readAnswer(order.purpose, typeof body === 'string' ? new TextEncoder().encode(body) : body);
    this.wake();
  }

  probe(attempt: WorldAttempt, state: 'healthy' | 'unhealthy', detail = state === 'healthy' ? '' : 'HTTP 500'): void {
    const order = this.openOrder(attempt, 'probe') ?? attempt.orders.findLast(({ purpose }) => purpose === 'probe');
    if (!order) throw new Error('no probe was ordered');
    this.answer(order, 0, detail);
    order.probeState = state;
  }

  lose(attempt: WorldAttempt, state: 'terminated' | 'stopped' | 'gone' = 'terminated'): void {
    if (attempt.instance) attempt.instance.state = state;
    this.wake();
  }

  private reach(attempt: WorldAttempt): void {
    attempt.reachedAs = this.reaches;
    this.wake();
  }

  openOrder(attempt: WorldAttempt, purpose: OrderPurpose): WorldOrder | undefined {
    return attempt.orders.findLast((order) => order.purpose === purpose && !order.answeredAt);
  }

  live(deployment?: WorldDeployment): WorldAttempt[] {
    const deployments = deployment ? [deployment] : this.deployments;
    return deployments.flatMap(({ attempts }) => attempts.filter(({ phase }) => phase !== 'ended'));
  }

  /** Fleet and agents carry out at once whatever is due, until nothing more is due now. */
  cooperate(): void {
    for (let rounds = 0; rounds < 30; rounds++) {
      this.settle();
      const work = this.live().flatMap((attempt) => this.workOf(attempt));
      if (work.length === 0) return;
      for (const step of work) step();
    }
    throw new Error('orders are given without end');
  }

  /** Cooperates while time passes from wake-up to wake-up. @returns seconds passed */
  run(seconds: number): void {
    const end = this.nowMs + seconds * 1000;
    this.cooperate();
    while (this.nextPassAt && this.nextPassAt.getTime() <= end) {
      this.nowMs = Math.max(this.nowMs, this.nextPassAt.getTime());
      this.pass();
      this.cooperate();
    }
    this.nowMs = Math.max(this.nowMs, end);
  }

  private workOf(attempt: WorldAttempt): (() => void)[] {
    if (!attempt.instance) return attempt.verdict ? [] : [() => this.assign(attempt)];
    if (attempt.instance.state !== 'running') return [];
    const isAsked = attempt.reachPort !== null && attempt.reachedAs === null && attempt.phase === 'healthy';
    if (isAsked && this.reaches) return [() => this.reach(attempt)];
    return attempt.orders
      .filter(({ purpose, answeredAt }) => !answeredAt && !UNANSWERED_FOR_LONG.includes(purpose))
      .map((order) => () => (order.purpose === 'probe' ? this.probe(attempt, 'healthy') : this.answer(order)));
  }

  facts(): JobFacts {
    return {
      id: 'j1',
      name: this.name,
      cluster: 'test',
      domain: this.domain,
      hostRules: this.hostRules,
      lateCallerSeconds: this.lateCallerSeconds,
      hosts: [...this.hosts],
      desiredState: this.desiredState,
      status: this.status,
      activeDeploymentId: this.activeDeploymentId,
      latestStatus: this.deployments.at(-1)?.status ?? null,
      lingeringInstances: this.lingeringInstances,
      deployments: this.deployments
        .filter(({ endedAt, attempts }) => !endedAt || attempts.some(({ phase }) => phase !== 'ended'))
        .map((deployment) => ({
          ...deployment,
          attempts: deployment.attempts
            .filter(({ phase }) => phase !== 'ended')
            .map((attempt) => structuredClone(attempt)),
          endedAttempts: deployment.attempts.flatMap((attempt) => {
            const { phase, number, reason, message, counted, healthyAt, endedAt } = attempt;
            if (phase !== 'ended' || !endedAt) return [];
            return [{ number, reason, message, counted, healthyAt, noticedAt: spotNoticedAt(attempt), endedAt }];
          }),
        })),
    };
  }

  private apply(plan: JobPlan): void {
    this.status = plan.status;
    this.activeDeploymentId = plan.activeDeploymentId;
    this.isGone = plan.isGone;
    this.nextPassAt = plan.nextPassAt;
    for (const { id, ...row } of plan.deployments) {
      const { imageDigest, imageId, status, reason, message, failedPhase, retryable, exitCode, lastLogLines } = row;
      const { deadlineAt, startedAt, activeAt, endedAt } = row;
      const columns = { imageDigest, imageId, status, reason, message, failedPhase, retryable, exitCode, lastLogLines };
      Object.assign(this.deployment(id), { ...columns, deadlineAt, startedAt, activeAt, endedAt });
    }
    const { added, removed } = plan.hosts;
    const got = added.filter((host) => !this.takenHosts.has(host));
    this.hosts = [...this.hosts.filter((host) => !removed.includes(host)), ...got];
    for (const { id, phase, reason, message, counted, ...times } of plan.attempts) {
      const { assignedAt, pullingAt, startingAt, healthyAt, unroutingAt, stoppingAt, endedAt, logsCompleteAt } = times;
      const { routedPort, unroutedAt, reachPort, reachAskedAt, reachedAs } = times;
      const columns = { phase, reason, message, counted };
      Object.assign(this.attempt(id), {
        ...columns,
        assignedAt,
        pullingAt,
        startingAt,
        healthyAt,
        unroutingAt,
        stoppingAt,
        endedAt,
        logsCompleteAt,
        ...{ reachPort, reachAskedAt, reachedAs },
        routedPort,
        unroutedAt,
      });
    }
    for (const { deploymentId, number, reason } of plan.newAttempts) {
      this.deployment(deploymentId).attempts.push(newAttempt(`${deploymentId}a${number}`, number, reason, this.now));
    }
    for (const { attemptId, number, purpose, spec } of plan.orders) {
      this.attempt(attemptId).orders.push(newOrder(number, purpose, spec, this.now));
    }
  }

  private deployment(id: string): WorldDeployment {
    const found = this.deployments.find((deployment) => deployment.id === id);
    if (!found) throw new Error(`the plan names an unknown deployment ${id}`);
    return found;
  }

  private attempt(id: string): WorldAttempt {
    const found = this.deployments.flatMap(({ attempts }) => attempts).find((attempt) => attempt.id === id);
    if (!found) throw new Error(`the plan names an unknown attempt ${id}`);
    return found;
  }
}

function newAttempt(id: string, number: number, reason: string, createdAt: Date): WorldAttempt {
  return {
    id,
    number,
    shapeKey: 'shape',
    phase: 'waiting',
    reason,
    message: null,
    counted: true,
    createdAt,
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
    instance: null,
    orders: [],
    verdict: null,
  };
}

function newOrder(number: number, purpose: OrderPurpose, spec: OrderSpec, createdAt: Date): WorldOrder {
  const result = { takenAt: null, answeredAt: null, status: null, error: null, answer: NO_ANSWER, probeState: null };
  return { number, purpose, spec, createdAt, ...result };
}

export function goodStatus(purpose: OrderPurpose): number {
  if (purpose === 'create') return 201;
  return purpose === 'start' || purpose === 'stop' ? 204 : 200;
}

export const DIGEST = `sha256:${'a'.repeat(64)}`;

export function goodBody(purpose: OrderPurpose): string {
  if (purpose === 'pull') return '{"status":"Status: Downloaded newer image for web:1"}\n';
  if (purpose === 'inspect-image')
    return JSON.stringify({ Id: `sha256:${'b'.repeat(64)}`, RepoDigests: [`web@${DIGEST}`] });
  if (purpose === 'wait') return '{"StatusCode":1}';
  if (purpose === 'inspect-exit') return '{"Id":"c","State":{"Running":false,"ExitCode":1,"OOMKilled":false}}';
  if (purpose === 'inspect-container') return '{"Id":"c","State":{"Status":"running","Running":true}}';
  return '{}';
}
