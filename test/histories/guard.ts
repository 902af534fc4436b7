import { ATTEMPT_PHASES, ATTEMPT_TRANSITIONS, type AttemptPhase } from '../../src/deployments/attempt-status.ts';
import {
  DEPLOYMENT_TRANSITIONS,
  type DeploymentStatus,
  isEnded,
  mayBecome,
} from '../../src/deployments/deployment-status.ts';
import { ownHostsOf } from '../../src/jobs/route-rules.ts';
import { CEILING_SECONDS, ceilingOf, LONGEST_PAUSE_SECONDS } from '../../src/fleet/plan/plan-brake.ts';
import { type FleetPlan, SOFT_BOOT_SECONDS } from '../../src/fleet/plan/plan-fleet.ts';
import { SILENT_SECONDS } from '../../src/fleet/plan/plan-silence.ts';
import { hasStarted, healthySince, isInService, lossOf } from '../../src/scheduler/plan/plan-attempt.ts';
import type { AttemptFacts, DeploymentFacts, JobFacts, JobPlan } from '../../src/scheduler/plan/plan-facts.ts';
import { eventsOf } from '../../src/scheduler/plan/plan-events.ts';
import { ailmentOf } from '../../src/scheduler/plan/plan-healing.ts';
import { isReleased } from '../../src/scheduler/plan/plan-leaving.ts';
import { spotNoticedAt } from '../../src/scheduler/plan/plan-order.ts';
import {
  type AttemptRow,
  DOMAIN,
  type InstanceRow,
  isOpen,
  type JobRow,
  LATE_CALLER_SECONDS,
  type LaunchRow,
  type ShapeRow,
} from './rows.ts';
import type { World } from './world.ts';

/** Logs are waited for so long after a deadline, from the pass that finds it over. */
const LOGS_SECONDS = 10;
const STOP_SLACK_SECONDS = 30;
/** As docs/addresses.md says. */
const HEALING_WAITS_SECONDS = 45;
/** By then every agent has come back that could not reach us. */
const AGENT_RETURN_SECONDS = 25;
const FIRST_ORDER_SECONDS = 15;
const PULL_SECONDS = 1800;
const GONE_CHECK_SECONDS = 2;
/** From when a launch is marked as called to when EC2 has carried it out. */
const CALL_SECONDS = 5;
const FIRST_PAUSE_SECONDS = 10;
const LEAVING: readonly AttemptPhase[] = ['unrouting', 'stopping'];
const BEFORE_HEALTHY: readonly AttemptPhase[] = ['waiting', 'assigned', 'pulling', 'starting'];

/**
 * What must never happen, checked at the moment it would: against EC2's own state where it has more than our rows.
 * Tasks are refused today; for services the rule «no two at once» is: one attempt on its way per deployment.
 */
export class Guard {
  private readonly cancels = new Set<string>();
  private readonly usedInstances = new Set<string>();
  private readonly overdueSince = new Map<string, number>();
  /** What each deployment was last; a guard's own memory, so that a plan cannot hide a step. */
  private readonly settledFailed = new Set<string>();
  private readonly hosts = new Map<string, { readonly jobId: string; readonly removedAt: Date | null }>();
  /** What one knows of a job's addresses who reads its events only. */
  private readonly told = new Map<string, { hosts: unknown; place: string | null }>();

  constructor(private readonly world: World) {}

  // — job pass —

  beforePass(job: JobRow, facts: JobFacts, plan: JobPlan): void {
    const before = new Map(facts.deployments.map((deployment) => [deployment.id, deployment]));
    for (const row of plan.deployments) {
      const from = before.get(row.id)?.status;
      claim(from && (from === row.status || isReachable(from, row.status)), `${row.id}: ${from} became ${row.status}`);
    }
    const attempts = new Map(facts.deployments.flatMap((one) => one.attempts.map((attempt) => [attempt.id, attempt])));
    for (const row of plan.attempts) {
      const from = attempts.get(row.id)?.phase;
      claim(from && mayReach(from, row.phase), `${row.id}: ${from} became ${row.phase}`);
    }
    claim(plan.newAttempts.length === 0 || job.desiredState === 'running', `${job.id}: an attempt nobody wants`);
    for (const { deploymentId } of plan.newAttempts) this.checkFresh(deploymentId);
    this.checkRetirements(job, facts, plan);
    this.checkRoutes(facts, plan);
    this.checkActivation(facts, plan);
    for (const { attempts, definition } of facts.deployments) {
      for (const attempt of attempts) {
        this.checkLogs(attempt, plan, definition.rollout.stopGraceSeconds);
        this.checkBlame(attempt, plan);
      }
    }
  }

  afterPass(job: JobRow, facts: JobFacts, plan: JobPlan): void {
    const { rows, timeline } = this.world;
    const deployments = rows.deploymentsOf(job.id);
    const active = deployments.filter(({ status }) => status === 'active');
    claim(active.length <= 1, `${job.id}: two deployments are active`);
    claim((active[0]?.id ?? null) === plan.activeDeploymentId, `${job.id}: names another active deployment`);
    for (const { id, cancelRequestedAt } of facts.deployments) if (cancelRequestedAt) this.cancels.add(id);
    for (const { id, status, number } of deployments) {
      if (this.cancels.has(id)) claim(status === 'cancelled', `${id}: an accepted cancel ended as ${status}`);
      const live = rows.attemptsOf(id).filter(({ phase }) => phase !== 'ended');
      const onTheWay = live.filter(({ phase }) => BEFORE_HEALTHY.includes(phase));
      claim(onTheWay.length <= 1, `${job.id}: deployment ${number} has ${onTheWay.length} attempts on their way`);
      claim(!isEnded(status) || onTheWay.length === 0, `${id}: is ${status} and goes on`);
    }
    claim(!job.isGone || this.isNothingLeft(job), `${job.id}: is gone, and something of it lives`);
    if (!job.isGone) this.checkDeadlines(job);
    this.checkAddress(job, facts, plan);
    this.checkHosts();
    this.checkRouteEvents(job, facts, plan);
    claim(!job.nextPassAt || job.nextPassAt.getTime() >= timeline.nowMs - 1, `${job.id}: wakes in the past`);
  }

  /**
   * What serves well is led to once the ingress could connect to it, and not before, and has the name of its job. What
   * heals a job waits for that no longer than it would for an answer that is lost.
   */
  private checkAddress(job: JobRow, facts: JobFacts, plan: JobPlan): void {
    const { rows, now } = this.world;
    const active = facts.deployments.find(({ id }) => id === plan.activeDeploymentId);
    if (job.desiredState !== 'running' || !active || active.definition.ports.length !== 1) return;
    const hosts = rows.hostsOf(job.id);
    claim(hosts.includes(`${job.id}.${DOMAIN}`), `${job.id}: has no address`);
    claim(!hosts.includes('api.own.test'), `${job.id}: has the API’s own host`);
    for (const host of ownHostsOf(active.definition).filter((one) => one !== 'api.own.test')) {
      claim(rows.routes.has(host), `${job.id}: leaves ${host} to nobody`);
    }
    const serving = active.attempts.filter((attempt) => {
      const { instance } = attempt;
      const { phase, reachedAs } = rows.attempts.get(attempt.id) ?? {};
      return (
        phase === 'healthy' &&
        reachedAs === 'http' &&
        instance &&
        !ailmentOf(attempt, active, now) &&
        isInService(attempt)
      );
    });
    const attempts = rows.deploymentsOf(job.id).flatMap(({ id }) => rows.attemptsOf(id));
    const isLed = attempts.some(({ routedPort }) => routedPort !== null);
    const before = new Map(
      facts.deployments.flatMap((one) => one.attempts).map(({ id, routedPort }) => [id, routedPort]),
    );
    for (const { id, routedPort, reachPort, reachAskedAt, reachedAs } of attempts) {
      if (routedPort === null || before.get(id) != null) continue;
      const hasWaited = reachAskedAt && now >= after(reachAskedAt, HEALING_WAITS_SECONDS);
      const isChecked = reachPort === routedPort && (reachedAs === 'http' || hasWaited);
      claim(isChecked, `${id}: callers are led there, and nobody knows whether it can be connected to`);
    }
    claim(serving.length === 0 || isLed, `${job.id}: ${serving.length} serve, and its address leads to none`);
  }

  /** A host is another job's once nobody can be led to the former one by it. */
  private checkHosts(): void {
    const { rows, now } = this.world;
    for (const { host, jobId, removedAt } of rows.routes.values()) {
      const before = this.hosts.get(host);
      const isFree = before?.removedAt && now >= after(before.removedAt, LATE_CALLER_SECONDS);
      claim(!before || before.jobId === jobId || isFree, `${host}: went from ${before?.jobId} to ${jobId} at once`);
      this.hosts.set(host, { jobId, removedAt });
    }
  }

  /** Events say which hosts a job has and where they lead, once each; what they said last is what its rows have. */
  private checkRouteEvents(job: JobRow, facts: JobFacts, plan: JobPlan): void {
    const { rows } = this.world;
    const hosts = rows.hostsOf(job.id);
    const told = this.told.get(job.id) ?? { hosts: [], place: null };
    this.told.set(job.id, told);
    const gained = plan.hosts.added.filter((host) => hosts.includes(host));
    const events = eventsOf(facts, plan, gained).filter(({ type }) => type.startsWith('route.'));
    const types = events.map(({ type }) => type);
    claim(new Set(types).size === types.length, `${job.id}: one pass says twice ${types.join()}`);
    for (const { type, deployment, attempt, data = {} } of events) {
      if (type === 'route.hosts-changed') told.hosts = data['hosts'];
      if (type === 'route.cleared') told.place = null;
      if (type !== 'route.switched') continue;
      const from = data['from'] as { deployment: number; attempt: number } | null;
      const left = from && `${from.deployment}/${from.attempt}`;
      claim(left === told.place, `${job.id}: its address went over from ${left}, and had led to ${told.place}`);
      told.place = `${deployment}/${attempt}`;
    }
    const led = rows.deploymentsOf(job.id).flatMap(({ id, number }) => {
      const attempts = rows.attemptsOf(id).filter(({ routedPort }) => routedPort !== null);
      return attempts.map((attempt) => `${number}/${attempt.number}`);
    });
    const place = hosts.length === 0 ? null : (led[0] ?? null);
    claim(told.place === place, `${job.id}: its address leads to ${place}, and its events say ${told.place}`);
    claim(String(told.hosts) === String(hosts), `${job.id}: has ${hosts.join()}, and its events say otherwise`);
  }

  /** Each attempt costs an instance: pauses of 0, 10, 20 … 300 s leave no more, whatever becomes of them. */
  private checkFresh(deploymentId: string): void {
    const { rows, now } = this.world;
    const others = rows.attemptsOf(deploymentId);
    const latest = others.filter(({ createdAt }) => secondsBetween(createdAt, now) < 600);
    claim(latest.length < 7, `${deploymentId}: an eighth attempt in ten minutes`);
    const wasActive = rows.deployments.get(deploymentId)?.activeAt;
    claim(wasActive || others.length < 10, `${deploymentId}: an eleventh attempt before it was active`);
  }

  /** What serves is stopped only when another serves, when it is lost or ails, or when the user wants it stopped. */
  private checkRetirements(job: JobRow, facts: JobFacts, plan: JobPlan): void {
    if (job.desiredState !== 'running') return;
    const { now } = this.world;
    const all = facts.deployments.flatMap(({ attempts }) => attempts);
    const after = new Map(plan.attempts.map((row) => [row.id, row.phase]));
    const ordered = new Set(
      plan.orders.filter(({ purpose }) => purpose === 'restart-policy').map((one) => one.attemptId),
    );
    const serves = (attempt: AttemptFacts) =>
      !isReleased(attempt) &&
      attempt.instance &&
      !lossOf(attempt.instance, attempt) &&
      facts.deployments.some((one) => one.attempts.includes(attempt) && !ailmentOf(attempt, one, now));
    const isKept = ({ id, phase }: AttemptFacts) => ![...LEAVING, 'ended'].includes(after.get(id) ?? phase);
    const isThereAnother = all.some(
      (other) => isKept(other) && serves(other) && (isInService(other) || ordered.has(other.id)),
    );
    for (const attempt of all) {
      if (isKept(attempt) || !isInService(attempt) || !serves(attempt)) continue;
      claim(isThereAnother, `${attempt.id}: it served, and nothing else does`);
    }
  }

  /** One attempt at most is led to, one that serves; and where callers may still come nothing is stopped. */
  private checkRoutes({ name, deployments }: JobFacts, plan: JobPlan): void {
    const { now } = this.world;
    const changed = new Map(plan.attempts.map((row) => [row.id, row]));
    const all = deployments.flatMap((deployment) => deployment.attempts.map((attempt) => ({ attempt, deployment })));
    const led = all.filter(({ attempt }) => (changed.get(attempt.id) ?? attempt).routedPort !== null);
    claim(led.length <= 1, `${name}: its address leads to ${led.length} attempts`);
    for (const { attempt } of led) {
      const { phase } = changed.get(attempt.id) ?? attempt;
      claim(phase === 'healthy', `${attempt.id}: led to while it is ${phase}`);
      claim(attempt.instance && !lossOf(attempt.instance, attempt), `${attempt.id}: led to, and its instance is lost`);
    }
    for (const { attempt, deployment } of all) {
      const { id, instance } = attempt;
      const { phase, unroutedAt } = changed.get(id) ?? attempt;
      const isGivenUp = phase === 'ended' || plan.orders.some((one) => one.attemptId === id && one.purpose === 'stop');
      if (!isGivenUp || attempt.phase === 'stopping' || !instance || lossOf(instance, attempt)) continue;
      if (ailmentOf(attempt, deployment, now)?.isDead || spotNoticedAt(attempt)) continue;
      const stays = LATE_CALLER_SECONDS + deployment.definition.rollout.drainSeconds;
      claim(!unroutedAt || now >= after(unroutedAt, stays), `${id}: stopped while callers may still come`);
    }
  }

  /** No instance is given up before what its container printed is stored, as long as it answers. */
  private checkLogs(attempt: AttemptFacts, plan: JobPlan, graceSeconds: number): void {
    const row = plan.attempts.find(({ id }) => id === attempt.id);
    const { instance, stoppingAt, orders, id } = attempt;
    if (row?.phase !== 'ended' || !instance) return;
    const flush = orders.findLast(({ purpose }) => purpose === 'flush-logs');
    const isComplete = row.logsCompleteAt !== null;
    claim(isComplete === (flush?.status === 200), `${id}: ended, and its logs are said to be what they are not`);
    const state = this.world.agents.get(instance.id)?.container?.state;
    // A stop is carried out in parallel with earlier orders: it may find no container yet, which has printed nothing.
    const isSilent = state === undefined || state === 'created' || state === 'exited';
    claim(!isComplete || isSilent, `${id}: its logs are called complete, and its container is ${state}`);
    if (isComplete || flush?.answeredAt || lossOf(instance, attempt) || !hasStarted(attempt)) return;
    const until = stoppingAt && after(this.heardFrom(stoppingAt), graceSeconds + STOP_SLACK_SECONDS);
    const isOverdue = flush && this.world.now >= after(this.heardFrom(flush.createdAt), LOGS_SECONDS);
    claim(isOverdue || (until && this.world.now >= until), `${id}: ended without its logs`);
  }

  /** An agent pauses for longer and longer while we are away, and is given the time to come back. */
  private checkBlame({ id }: AttemptFacts, plan: JobPlan): void {
    const isBlamed = plan.attempts.some((row) => row.id === id && row.reason === 'agent-unresponsive');
    const isBack = this.world.now >= after(new Date(this.world.upSinceMs), AGENT_RETURN_SECONDS);
    claim(!isBlamed || isBack, `${id}: its agent is blamed for our outage`);
  }

  /** A deployment becomes active when it is stable, and only then does its predecessor begin to drain. */
  private checkActivation(facts: JobFacts, plan: JobPlan): void {
    const statusBefore = new Map(facts.deployments.map(({ id, status }) => [id, status]));
    const became = plan.deployments.filter(
      ({ id, status }) => status === 'active' && statusBefore.get(id) !== 'active',
    );
    for (const { id } of became) {
      if (statusBefore.get(id) === 'draining') continue;
      const deployment = facts.deployments.find((one) => one.id === id);
      claim(deployment && this.isStable(deployment, plan), `${id}: became active and is not stable`);
    }
    const superseded = plan.deployments.filter(
      ({ id, status, reason }) =>
        status === 'draining' && reason === 'superseded-by-newer' && statusBefore.get(id) === 'active',
    );
    claim(superseded.length === 0 || became.length > 0, 'an active deployment drains and nothing took its place');
  }

  private isStable({ attempts, definition }: DeploymentFacts, plan: JobPlan): boolean {
    const { now } = this.world;
    const moved = new Map(plan.attempts.map((row) => [row.id, row]));
    return attempts.some((attempt) => {
      const since = healthySince({ ...attempt, ...moved.get(attempt.id) });
      return since !== null && secondsBetween(since, now) >= definition.rollout.stableSeconds;
    });
  }

  /** Every status and phase is left by its deadline, and the job wakes up for it. */
  private checkDeadlines(job: JobRow): void {
    const { rows, now } = this.world;
    const due: Date[] = [];
    if (job.desiredState === 'deleted') due.push(after(now, GONE_CHECK_SECONDS));
    for (const { id, status, reason, deadlineAt, definition } of rows.deploymentsOf(job.id)) {
      const live = rows.attemptsOf(id).filter(({ phase }) => phase !== 'ended');
      claim(status !== 'queued', `${id}: still queued after a pass`);
      if (status === 'deploying') {
        claim(deadlineAt, `${id}: deploying without a deadline`);
        this.checkOverdue(id, deadlineAt, LOGS_SECONDS);
        due.push(later(deadlineAt, after(now, LOGS_SECONDS)));
      }
      if (
        status === 'draining' &&
        reason === 'superseded-by-newer' &&
        live.some(({ phase }) => !LEAVING.includes(phase))
      ) {
        claim(deadlineAt, `${id}: draining without a deadline`);
        claim(now < deadlineAt, `${id}: drains for too long`);
        due.push(deadlineAt);
      }
      for (const attempt of live) due.push(...this.deadlineOf(attempt, definition.rollout.stopGraceSeconds));
    }
    for (const at of due) {
      claim(job.nextPassAt && job.nextPassAt <= later(at, now), `${job.id}: sleeps past ${at.toISOString()}`);
    }
  }

  private deadlineOf(attempt: AttemptRow, graceSeconds: number): Date[] {
    const { rows, now } = this.world;
    const orders = rows.ordersOf(attempt.id);
    const first = orders[0];
    const at = (from: Date, seconds: number) => {
      const deadline = after(from, seconds);
      claim(now < deadline, `${attempt.id}: ${attempt.phase} for too long`);
      return [deadline];
    };
    if (attempt.phase === 'stopping') {
      return at(this.heardFrom(attempt.stoppingAt ?? now), graceSeconds + STOP_SLACK_SECONDS);
    }
    if (attempt.phase === 'assigned' && first && !orders.some(({ takenAt }) => takenAt)) {
      const orderedAt = later(attempt.assignment?.at ?? first.createdAt, first.createdAt);
      return at(this.heardFrom(orderedAt), FIRST_ORDER_SECONDS);
    }
    const pull = orders.findLast(({ purpose }) => purpose === 'pull');
    if (attempt.phase === 'pulling' && pull && !pull.answeredAt) return at(pull.createdAt, PULL_SECONDS);
    return [];
  }

  /** From when an agent has heard of what it was ordered, at the latest. */
  private heardFrom(orderedAt: Date): Date {
    return later(orderedAt, after(new Date(this.world.upSinceMs), AGENT_RETURN_SECONDS));
  }

  private checkOverdue(id: string, deadlineAt: Date, graceSeconds: number): void {
    const { nowMs } = this.world.timeline;
    if (nowMs < deadlineAt.getTime()) return void this.overdueSince.delete(id);
    const since = this.overdueSince.get(id) ?? nowMs;
    this.overdueSince.set(id, since);
    claim(nowMs <= since + graceSeconds * 1000, `${id}: deploying past its deadline`);
  }

  private isNothingLeft(job: JobRow): boolean {
    const { rows, cloud } = this.world;
    const attempts = rows.deploymentsOf(job.id).flatMap(({ id }) => rows.attemptsOf(id));
    return attempts.every(
      ({ phase, assignment }) => phase === 'ended' && !(assignment && cloud.isAlive(assignment.instanceId)),
    );
  }

  // — fleet —

  /** Never more than attempts wait for, counted with what EC2 really runs, seen by us or not. */
  beforeFleetPlan(shape: ShapeRow, { launch }: FleetPlan): void {
    if (!launch) return;
    const { key, warm } = shape;
    const { rows, cloud, timeline } = this.world;
    const waiting = rows.inLine(key).length;
    claim(launch.count <= waiting + warm, `${launch.id}: ${launch.count} launched for ${waiting} who wait`);
    const open = rows.openLaunches().filter(({ shapeKey }) => shapeKey === key);
    claim(open.length === 0, `${launch.id}: launched beside an open launch`);
    const booting = [...cloud.instances.values()].filter(({ id, token, launchedMs }) => {
      if (token === null || rows.launches.get(token)?.shapeKey !== key || !cloud.isAlive(id)) return false;
      const row = rows.instances.get(id);
      const isYoung = timeline.nowMs - launchedMs < SOFT_BOOT_SECONDS * 1000;
      return isYoung && !row?.registeredAt && !row?.retireReason && !['stopping', 'stopped'].includes(row?.state ?? '');
    });
    const needed = waiting + warm - booting.length;
    claim(launch.count <= needed, `${launch.id}: ${launch.count} launched, but ${booting.length} boot for ${waiting}`);
    this.checkStorm(shape, launch);
  }

  /**
   * What EC2 takes and ends before it registers costs money each time: after the second in a row there is a pause, and in
   * ten minutes there are no more of them than the ceiling, except for one after the longest pause.
   */
  private checkStorm({ key, warm }: ShapeRow, { id, count }: NonNullable<FleetPlan['launch']>): void {
    const { rows, cloud, timeline } = this.world;
    const made = [...cloud.instances.values()].filter(
      ({ token }) => token !== null && rows.launches.get(token)?.shapeKey === key,
    );
    const secondsSince = ({ launchedMs }: { launchedMs: number }) => (timeline.nowMs - launchedMs) / 1000;
    const newest = Math.min(...made.map(secondsSince));
    const latest = made.filter((one) => secondsSince(one) < CEILING_SECONDS - CALL_SECONDS);
    const unregistered = latest.filter((one) => !rows.instances.get(one.id)?.registeredAt);
    const served = made.filter((one) => rows.instances.get(one.id)?.registeredAt).length;
    const most = ceilingOf(rows.inLine(key).length + warm + served);
    const isLongAgo = newest >= LONGEST_PAUSE_SECONDS - CALL_SECONDS;
    claim(
      unregistered.length + count <= most || (count === 1 && isLongAgo),
      `${id}: ${count} more beside ${unregistered.length} that did not register, of ${most} in ten minutes`,
    );
    const lastTwo = [...Map.groupBy(made, ({ token }) => token).values()].slice(-2);
    const isNothingLeft = lastTwo.every(
      (launch) =>
        launch.some((one) => rows.instances.get(one.id)?.terminatedAt) &&
        launch.every((one) => !rows.instances.get(one.id)?.registeredAt),
    );
    claim(
      lastTwo.length < 2 || !isNothingLeft || newest >= FIRST_PAUSE_SECONDS - CALL_SECONDS,
      `${id}: the last two launches came to nothing, and the next follows at once`,
    );
  }

  onAssign(attempt: AttemptRow, instanceId: string): void {
    claim(!this.usedInstances.has(instanceId), `${instanceId}: given to ${attempt.id} and to another before`);
    claim(!attempt.assignment, `${attempt.id}: has two instances`);
    this.usedInstances.add(instanceId);
    const deployment = this.world.rows.deployments.get(attempt.deploymentId);
    claim(deployment && !isEnded(deployment.status), `${instanceId}: given to work nobody wants`);
  }

  onCall({ id, status, count }: LaunchRow, wanted: number): void {
    claim(status !== 'planned' || wanted >= count, `${id}: called for ${count}, and ${wanted} are wanted`);
  }

  /** Right after EC2 carried out a call. */
  onLaunched({ id, count }: LaunchRow): void {
    const made = this.world.cloud.tokens.get(id)?.ids.length ?? 0;
    claim(made <= count, `${id}: EC2 made ${made} of ${count}`);
    claim(made === 0 || !this.settledFailed.has(id), `${id}: took effect after it was called failed`);
  }

  onSettled({ id, status }: LaunchRow): void {
    if (status !== 'failed') return;
    this.settledFailed.add(id);
    const made = this.world.cloud.tokens.get(id)?.ids ?? [];
    claim(made.length === 0, `${id}: called failed, and EC2 made ${made.join()}`);
  }

  /** Only what we launched, what is to end, and what no job needs any more. */
  onTerminate(id: string): void {
    const { rows, cloud } = this.world;
    const row = rows.instances.get(id);
    claim(row && !row.quarantined && row.launchId, `${id}: terminated, and it is not ours to end`);
    claim(row.retireReason, `${id}: terminated without a reason`);
    const attempt = rows.attemptOn(id);
    const isLost = !cloud.isRunning(id);
    claim(isLost || !attempt || attempt.phase === 'ended', `${id}: terminated under ${attempt?.id}`);
  }

  /** Silence that our side caused is not the agent's fault. */
  onUnreachable({ id }: InstanceRow): void {
    const { world } = this;
    const sinceMs = Math.max(world.cutOff.get(id) ?? Infinity, world.upSinceMs);
    const isOver = !world.cloud.isRunning(id);
    const isSilent = world.timeline.nowMs - sinceMs >= SILENT_SECONDS * 1000;
    claim(isOver || isSilent, `${id}: called unreachable, and nobody could have heard it`);
  }

  // — rest —

  /** @returns what is not at rest; nothing = all is as it should be */
  restlessness(): string | null {
    const { rows, cloud, agents } = this.world;
    const open = [...rows.launches.values()].find(isOpen);
    if (open) return `${open.id} is ${open.status}`;
    for (const { id, status } of rows.deployments.values()) {
      if (status !== 'active' && !isEnded(status)) return `${id} is ${status}`;
    }
    for (const attempt of rows.liveAttempts()) {
      const instanceId = attempt.assignment?.instanceId ?? '';
      if (attempt.phase !== 'healthy') return `${attempt.id} is ${attempt.phase}`;
      if (!cloud.isRunning(instanceId)) return `${attempt.id} is on ${instanceId}, which is over`;
      // Nothing thaws it: sooner or later, by when EC2 shows it, it is replaced.
      if (cloud.instances.get(instanceId)?.isFrozen) return `${attempt.id} is on ${instanceId}, which is frozen`;
      const { container } = agents.get(instanceId) ?? {};
      if (container?.state !== 'running' || !container.isKeptUp) return `the container of ${attempt.id} does not run`;
    }
    for (const job of rows.jobs.values()) {
      const unrest = this.unrestOf(job);
      if (unrest) return unrest;
    }
    return this.leak();
  }

  private unrestOf(job: JobRow): string | null {
    const { rows } = this.world;
    if (job.desiredState === 'deleted') return job.isGone ? null : `${job.id} is still being deleted`;
    const deployments = rows.deploymentsOf(job.id);
    const active = deployments.find(({ status }) => status === 'active');
    const live = deployments.flatMap(({ id }) => rows.attemptsOf(id)).filter(({ phase }) => phase !== 'ended');
    if (job.desiredState === 'stopped' && active) return `${job.id} is stopped and has an active deployment`;
    if (live.length !== (active ? 1 : 0)) return `${job.id} has ${live.length} attempts`;
    return active && job.status !== 'running' ? `${job.id} is ${job.status}` : null;
  }

  /** What runs in EC2 with our launch and no job needs. */
  private leak(): string | null {
    const { rows, cloud, agents } = this.world;
    for (const { id, token } of cloud.instances.values()) {
      const attempts = agents.get(id)?.attemptIds ?? new Set();
      claim(attempts.size <= 1, `${id}: ran containers of ${[...attempts].join()}`);
      if (token === null || !cloud.isAlive(id)) continue;
      const attempt = rows.attemptOn(id);
      if (attempt && attempt.phase !== 'ended') continue;
      const row = rows.instances.get(id);
      if (!row || row.isAssigned || (rows.shapes.get(row.shapeKey ?? '')?.warm ?? 0) === 0)
        return `${id} runs for nobody`;
    }
    return null;
  }
}

/** By at most two steps of the table: one plan may start a deployment and cancel it, or drain one and end it. */
function isReachable(from: DeploymentStatus, to: DeploymentStatus): boolean {
  return mayBecome(from, to) || DEPLOYMENT_TRANSITIONS[from].some((between) => mayBecome(between, to));
}

function mayReach(from: AttemptPhase, to: AttemptPhase): boolean {
  if (from === to) return true;
  return ATTEMPT_TRANSITIONS[from].some(
    (next) => ATTEMPT_PHASES.indexOf(next) > ATTEMPT_PHASES.indexOf(from) && mayReach(next, to),
  );
}

function secondsBetween(from: Date, to: Date): number {
  return (to.getTime() - from.getTime()) / 1000;
}

function after(from: Date, seconds: number): Date {
  return new Date(from.getTime() + seconds * 1000);
}

function later(a: Date, b: Date): Date {
  return a > b ? a : b;
}

function claim(isTrue: unknown, message: string): asserts isTrue {
  if (!isTrue) throw new Error(message);
}
