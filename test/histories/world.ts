import { readAnswer } from '../../src/docker/order-answer.ts';
import { JobDefinition } from '../../src/jobs/job-definition.ts';
import { isCancellable, type DeploymentTrigger } from '../../src/deployments/deployment-status.ts';
import { planJob } from '../../src/scheduler/plan/plan-job.ts';
import { ModelAgent, type AgentHost } from './agent.ts';
import { type CloudInstance, ModelCloud } from './cloud.ts';
import { Fleet } from './fleet.ts';
import { Guard } from './guard.ts';
import { type DeploymentRow, type JobRow, Rows } from './rows.ts';
import { Timeline } from './timeline.ts';
import { fairWeather, type Weather } from './weather.ts';

/** What users request, in a few variants. Parsed once: a history has no time for it. */
const DEFINITIONS = [
  {},
  // Both jobs may want a host of their own that these two name: one has it, the other waits.
  {
    health: { path: '/', port: 80 },
    ports: [{ container: 80, host: 80 }],
    route: { hosts: ['shop.own.test', 'www.own.test'] },
  },
  {
    instance: { market: 'spot' },
    rollout: { drainSeconds: 0 },
    onCapacity: { waitSeconds: 600, fallback: { market: 'on-demand' } },
  },
  {
    onCapacity: 'fail',
    ports: [{ container: 80, host: 8080 }],
    route: { hosts: ['shop.own.test', 'api.own.test'] },
    rollout: { drainSeconds: 60, stopGraceSeconds: 0 },
  },
  { rollout: { deadlineSeconds: 60, stableSeconds: 0 } },
  { maxSilenceSeconds: 120, instance: { types: ['t3.small', 't3.medium'] } },
].map((definition) => JobDefinition.parse(definition));

const POLL_MS = 20;
const REACH_EVERY_MS = 1_000;
/** How late the agents come back after an outage of ours. */
const AGENT_PAUSE_MS = 22_500;
/** Of the owner's lease: for that time no process acts on EC2 after a crash. */
const LEASE_MS = 15_000;
/** More steps than that without time passing never end. */
const MOST_STEPS_AT_ONCE = 400;

/** Thrown where our process dies; whatever it had in memory is lost. */
export class Died extends Error {}

/**
 * Users, scheduler, fleet, agents and EC2 in one memory: the real planners of both loops, rows in between, and every effect
 * a step of its own between which anything may happen. Deterministic: the same history gives the same end.
 */
export class World {
  readonly timeline = new Timeline();
  readonly rows = new Rows();
  readonly agents = new Map<string, ModelAgent>();
  readonly guard = new Guard(this);
  weather: Weather = fairWeather();
  readonly cloud = new ModelCloud(this.timeline, () => this.weather);
  readonly fleet = new Fleet(this);
  isUp = true;
  /** When our processes came back, or began: an agent they could not hear before is not silent. */
  upSinceMs = this.timeline.nowMs;
  /** Instances that cannot reach us, and since when. */
  readonly cutOff = new Map<string, number>();
  passes = 0;
  private crash: { commitsLeft: number; readonly when: 'before' | 'after' } | null = null;
  private generation = 0;

  constructor() {
    this.cloud.onRunning = (instance) => this.boot(instance);
    this.cloud.onEnd = ({ id }) => this.hear(id);
  }

  get now(): Date {
    return this.timeline.now;
  }

  // — users —

  deploy(jobId: string, variant: number, trigger: DeploymentTrigger = 'api', source?: DeploymentRow): void {
    const job = this.rows.jobs.get(jobId) ?? this.createJob(jobId);
    if (job.desiredState === 'deleted') return;
    const number = this.rows.deploymentsOf(jobId).length + 1;
    const definition = source?.definition ?? DEFINITIONS[variant % DEFINITIONS.length] ?? JobDefinition.parse({});
    const id = `${jobId}d${number}`;
    this.rows.deployments.set(id, {
      ...NO_OUTCOME,
      id,
      jobId,
      number,
      definition,
      secretsVersion: null,
      trigger,
      image: 'web:1',
      imageDigest: source?.imageDigest ?? null,
      imageId: source?.imageId ?? null,
      status: 'queued',
      deadlineAt: new Date(this.timeline.nowMs + definition.rollout.deadlineSeconds * 1000),
    });
    job.desiredState = 'running';
    this.rows.wakeJob(jobId, this.now);
  }

  /** Rollback, restart and start: what served before, as it was. */
  redeploy(jobId: string, trigger: 'rollback' | 'restart' | 'start'): void {
    const served = this.rows.deploymentsOf(jobId).filter(({ activeAt }) => activeAt !== null);
    const source = trigger === 'rollback' ? served.at(-2) : served.at(-1);
    if (source) this.deploy(jobId, 0, trigger, source);
  }

  cancel(jobId: string): void {
    const latest = this.rows.deploymentsOf(jobId).at(-1);
    if (!latest || !isCancellable(latest.status)) return;
    latest.cancelRequestedAt ??= this.now;
    this.rows.wakeJob(jobId, this.now);
  }

  desire(jobId: string, state: 'stopped' | 'deleted'): void {
    const job = this.rows.jobs.get(jobId);
    if (!job || job.desiredState === 'deleted') return;
    job.desiredState = state;
    this.rows.wakeJob(jobId, this.now);
  }

  /** Spares of every shape there is. */
  keepWarm(spares: number): void {
    for (const shape of this.rows.shapes.values()) {
      shape.warm = spares;
      this.rows.wakeShape(shape.key, this.now);
    }
  }

  // — misfortune —

  /** Our process dies at one of its next commits: before it, or just after. */
  crashAt(commits: number, when: 'before' | 'after'): void {
    this.crash = { commitsLeft: commits, when };
  }

  /** All our processes are away, or the clock jumps: no pass runs, no agent is heard. */
  leave(): void {
    this.hearAll();
    this.isUp = false;
    this.die();
  }

  comeBack(): void {
    if (this.isUp) return;
    this.isUp = true;
    this.upSinceMs = this.timeline.nowMs;
    this.fleet.beginTenure(this.timeline.nowMs);
    this.pollAll(AGENT_PAUSE_MS);
  }

  cut(id: string): void {
    this.hear(id);
    if (!this.cutOff.has(id)) this.cutOff.set(id, this.timeline.nowMs);
  }

  mendAll(): void {
    this.cutOff.clear();
    this.pollAll();
  }

  freeze(id: string): void {
    const instance = this.cloud.instances.get(id);
    if (!instance) return;
    this.cut(id);
    instance.isFrozen = true;
  }

  // — time —

  run(ms: number): void {
    const endMs = this.timeline.nowMs + ms;
    let steps = 0;
    let atMs = -1;
    while (this.step(endMs)) {
      steps = this.timeline.nowMs === atMs ? steps + 1 : 0;
      atMs = this.timeline.nowMs;
      if (steps > MOST_STEPS_AT_ONCE) throw new Error('passes wake each other without end');
    }
    this.timeline.nowMs = Math.max(this.timeline.nowMs, endMs);
  }

  /** Work of one process that goes on later: gone if it dies before. */
  later(ms: number, work: () => void): void {
    const ifAlive = this.checkIn();
    this.timeline.after(ms, () => ifAlive(work));
  }

  /** @returns what carries out work only if the process of now still lives then */
  checkIn(): (work: () => void) => void {
    const { generation } = this;
    return (work) => {
      if (generation === this.generation) this.survive(work);
    };
  }

  /** One transaction: all of it, or nothing. */
  commit(write: () => void): void {
    const { crash } = this;
    if (crash && crash.commitsLeft-- <= 0) {
      this.crash = null;
      if (crash.when === 'after') write();
      this.die();
      throw new Died();
    }
    write();
  }

  hearAll(): void {
    for (const id of this.agents.keys()) this.hear(id);
  }

  isHeard(id: string): boolean {
    return this.isUp && this.cloud.isRunning(id) && !this.cutOff.has(id);
  }

  private createJob(id: string): JobRow {
    const job: JobRow = {
      id,
      desiredState: 'running',
      status: 'idle',
      activeDeploymentId: null,
      nextPassAt: null,
      isGone: false,
    };
    this.rows.jobs.set(id, job);
    return job;
  }

  /** @returns false when nothing more happens before `endMs` */
  private step(endMs: number): boolean {
    const passMs = this.isUp ? this.nextPassMs() : Infinity;
    const fleetMs = this.isUp ? this.fleet.nextMs() : Infinity;
    const nextMs = Math.min(this.timeline.nextMs, passMs, fleetMs);
    if (nextMs > endMs) return false;
    if (this.timeline.nextMs <= nextMs) this.timeline.happenNext();
    else {
      this.timeline.nowMs = Math.max(this.timeline.nowMs, nextMs);
      this.survive(() => (passMs <= nextMs ? this.passDue() : this.fleet.step()));
    }
    return true;
  }

  private nextPassMs(): number {
    let nextMs = Infinity;
    for (const { nextPassAt, isGone } of this.rows.jobs.values()) {
      if (nextPassAt && !isGone) nextMs = Math.min(nextMs, nextPassAt.getTime() + this.weather.lateMs);
    }
    return nextMs;
  }

  private passDue(): void {
    for (const job of this.rows.jobs.values()) {
      if (!job.isGone && job.nextPassAt && job.nextPassAt.getTime() + this.weather.lateMs <= this.timeline.nowMs) {
        this.pass(job);
      }
    }
  }

  private pass(job: JobRow): void {
    this.passes += 1;
    const facts = this.rows.jobFacts(job);
    const plan = planJob(facts, this.now, new Date(this.upSinceMs));
    this.commit(() => {
      this.guard.beforePass(job, facts, plan);
      this.rows.applyJobPlan(job, plan, this.now);
      for (const instanceId of new Set(plan.orders.map((order) => order.instanceId))) {
        this.timeline.after(POLL_MS, () => this.poll(instanceId));
      }
      for (const { id, reachPort, reachedAs } of plan.attempts) {
        if (reachPort !== null && reachedAs === null) this.timeline.after(this.weather.reachMs, () => this.reach(id));
      }
      this.guard.afterPass(job, facts, plan);
    });
  }

  /** What reach-checks.service.ts does. */
  private reach(attemptId: string): void {
    const attempt = this.rows.attempts.get(attemptId);
    if (!attempt?.assignment || attempt.phase !== 'healthy' || attempt.reachedAs !== null) return;
    const { instanceId } = attempt.assignment;
    const isRunning = this.agents.get(instanceId)?.container?.state === 'running';
    if (!this.isUp || !this.cloud.isRunning(instanceId) || !isRunning) {
      this.timeline.after(REACH_EVERY_MS, () => this.reach(attemptId));
      return;
    }
    attempt.reachedAs = 'http';
    this.rows.wakeJob(attempt.jobId, this.now);
  }

  private survive(work: () => void): void {
    try {
      work();
    } catch (error) {
      if (!(error instanceof Died)) throw error;
    }
  }

  private die(): void {
    this.generation += 1;
    this.fleet.beginTenure(this.timeline.nowMs + LEASE_MS);
  }

  private boot(instance: CloudInstance): void {
    const { token, id } = instance;
    if (token === null || this.weather.bootMs === Infinity) return;
    const host: AgentHost = {
      weather: () => this.weather,
      nowMs: () => this.timeline.nowMs,
      after: (ms, happen) =>
        this.timeline.after(ms, () => {
          if (this.cloud.isRunning(id) && !instance.isFrozen) happen();
        }),
      isHeard: () => this.isHeard(id),
      register: () => this.register(id, token),
      deliver: (order, answer) => this.deliver(id, order, answer),
      shutDown: () => this.cloud.terminate(id),
    };
    const agent = new ModelAgent(host);
    this.agents.set(id, agent);
    host.after(this.weather.bootMs, () => agent.boot());
  }

  /** What registration-rules.ts and the statement ADMIT do. */
  private register(id: string, token: string): boolean {
    const launch = this.rows.launches.get(token);
    const row = this.rows.instances.get(id);
    if (!launch || (!row && launch.status === 'done')) return false;
    if (row?.retireReason || row?.terminatedAt) return true;
    const known = row ?? this.fleet.insertInstance(id, launch, 'pending', new Date(this.timeline.nowMs));
    known.registeredAt = this.now;
    known.lastSeenAt = this.now;
    this.rows.wakeShape(known.shapeKey, this.now);
    const agent = this.agents.get(id);
    if (agent) agent.isRegistered = true;
    return true;
  }

  /** What the statement STORE does: the first answer stays, except of a probe that turns. */
  private deliver(
    instanceId: string,
    order: Parameters<AgentHost['deliver']>[0],
    answer: Parameters<AgentHost['deliver']>[1],
  ): void {
    const isNews = order.answeredAt === null || (answer.probeState && order.probeState !== answer.probeState);
    if (!isNews || !this.isHeard(instanceId)) return;
    order.takenAt ??= this.now;
    const { status, body, probeState = null } = answer;
    Object.assign(order, { status, answer: readAnswer(order.purpose, body), answeredAt: this.now, probeState });
    const attempt = this.rows.attempts.get(order.attemptId);
    if (attempt) this.rows.wakeJob(attempt.jobId, this.now);
  }

  private poll(instanceId: string): void {
    const attempt = this.rows.attemptOn(instanceId);
    if (attempt) this.agents.get(instanceId)?.poll(this.rows.ordersOf(attempt.id));
  }

  private pollAll(afterMs = POLL_MS): void {
    for (const id of this.agents.keys()) this.timeline.after(afterMs, () => this.poll(id));
  }

  private hear(id: string): void {
    const row = this.rows.instances.get(id);
    if (row?.registeredAt && this.isHeard(id)) row.lastSeenAt = this.now;
  }
}

const NO_OUTCOME = {
  reason: null,
  message: null,
  failedPhase: null,
  retryable: null,
  exitCode: null,
  lastLogLines: null,
  cancelRequestedAt: null,
  createdAt: new Date(0),
  origin: null,
  startedAt: null,
  activeAt: null,
  endedAt: null,
};
