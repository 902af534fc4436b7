import { CLUSTER_TAG, type Ec2Health, type Ec2Instance, LAUNCH_TAG } from '../../src/aws/ec2-types.ts';
import { RECENT_SECONDS, type RecentLaunch } from '../../src/fleet/plan/plan-brake.ts';
import { type FleetPlan, LINE_SECONDS, planFleet, type Supply } from '../../src/fleet/plan/plan-fleet.ts';
import {
  type OpenLaunch,
  planNextStep,
  type Settlement,
  settleLookUp,
  settleRefusal,
  settleWithdrawal,
} from '../../src/fleet/plan/plan-launch.ts';
import { planSilence, SILENT_SECONDS, instancesToCheck } from '../../src/fleet/plan/plan-silence.ts';
import { isExpected, planSweep, type SweepPlan } from '../../src/fleet/plan/plan-sweep.ts';
import { addressOf, CLUSTER } from './cloud.ts';
import type { FleetFacts } from './in-postgres.ts';
import { type AttemptRow, type InstanceRow, isOpen, type LaunchRow, type Rows, type ShapeRow } from './rows.ts';
import type { World } from './world.ts';

const CLAIM_MS = 5_000;
const ENDED_MS = 600_000;
const CALL_MS = 45_000;
const HEALING_PAUSE_MS = 60_000;
const FULL_SWEEP_MS = 60_000;
const QUICK_SWEEP_MS = 2_000;
const REPEAT_TERMINATE_MS = 30_000;
const MOST_RECENT = 60;
const RETRY_TERMINATE_MS = 2_000;
const SILENCE_MS = 15_000;
const SUBNETS = ['subnet-a', 'subnet-b'];
const TAG_KEYS = { cluster: CLUSTER_TAG, launch: LAUNCH_TAG };

/** The owner's loops: fleet pass, launcher, retirer, sweep and silence, each effect with a time between it and its answer. */
export class Fleet {
  private since = new Date(0);
  private listeningSince = this.since;
  private activeFromMs = 0;
  private fullSweepAtMs = 0;
  private quickSweepAtMs = 0;
  private silenceAtMs = 0;
  private retireAtMs = 0;
  private isSweeping = false;
  private readonly inFlight = new Set<string>();
  private readonly terminating = new Set<string>();
  private launchCount = 0;

  constructor(private readonly world: World) {
    this.beginTenure(world.timeline.nowMs);
  }

  /** A new owner, from then on: nothing of the old one's memory is left. */
  beginTenure(fromMs: number): void {
    const { nowMs } = this.world.timeline;
    this.activeFromMs = fromMs;
    this.since = new Date(fromMs);
    this.listeningSince = this.since;
    this.fullSweepAtMs = fromMs;
    this.quickSweepAtMs = fromMs;
    this.silenceAtMs = fromMs;
    this.retireAtMs = fromMs;
    this.isSweeping = false;
    this.inFlight.clear();
    this.terminating.clear();
    for (const launch of this.rows.openLaunches()) launch.nextTryAt = new Date(Math.max(nowMs, fromMs));
  }

  /** Called before every step of a history: it loops without allocating anything. */
  nextMs(): number {
    const { lateMs } = this.world.weather;
    let nextMs = this.isSweeping ? this.silenceAtMs : Math.min(this.silenceAtMs, this.fullSweepAtMs);
    for (const { nextPassAt } of this.rows.shapes.values()) {
      if (nextPassAt) nextMs = Math.min(nextMs, nextPassAt.getTime() + lateMs);
    }
    for (const launch of this.rows.launches.values()) {
      if (!isOpen(launch) || this.inFlight.has(launch.id)) continue;
      nextMs = Math.min(nextMs, launch.nextTryAt?.getTime() ?? 0);
    }
    for (const row of this.rows.instances.values()) {
      if (row.terminatedAt) continue;
      nextMs = Math.min(nextMs, this.terminateAtMs(row));
      if (!this.isSweeping && isInBetween(row)) nextMs = Math.min(nextMs, this.quickSweepAtMs);
    }
    return Math.max(this.activeFromMs, nextMs);
  }

  /** Whatever is due, one of it. */
  step(): void {
    const { nowMs } = this.world.timeline;
    const { lateMs } = this.world.weather;
    const shapes = [...this.rows.shapes.values()].filter(
      ({ nextPassAt }) => nextPassAt && nextPassAt.getTime() + lateMs <= nowMs,
    );
    if (shapes.length > 0) return this.pass(shapes);
    const launch = this.rows
      .openLaunches()
      .find(({ id, nextTryAt }) => !this.inFlight.has(id) && (nextTryAt?.getTime() ?? 0) <= nowMs);
    if (launch) return this.carryOut(launch);
    const ending = [...this.rows.instances.values()].filter((row) => this.terminateAtMs(row) <= nowMs);
    if (ending.length > 0) return this.terminate(ending.map(({ id }) => id));
    if (!this.isSweeping && this.fullSweepAtMs <= nowMs) return this.sweepAll();
    if (this.silenceAtMs <= nowMs) return this.listen();
    this.sweepInBetween();
  }

  insertInstance(id: string, launch: LaunchRow, state: InstanceRow['state'], launchedAt: Date): InstanceRow {
    const row: InstanceRow = {
      ...NEW_INSTANCE,
      ...{ id, state, launchedAt, launchId: launch.id, shapeKey: launch.shapeKey, privateIp: addressOf(id) },
    };
    this.rows.instances.set(id, row);
    return row;
  }

  private get rows(): Rows {
    return this.world.rows;
  }

  // — fleet pass —

  private pass(shapes: readonly ShapeRow[]): void {
    const { world } = this;
    world.passes += 1;
    const claimedUntil = new Date(world.timeline.nowMs + CLAIM_MS);
    world.commit(() => {
      for (const shape of shapes) shape.nextPassAt = claimedUntil;
    });
    world.hearAll();
    world.commit(() => {
      for (const shape of shapes) this.apply(shape, this.plan(shape), claimedUntil);
    });
  }

  private plan(shape: ShapeRow): FleetPlan {
    this.launchCount += 1;
    return planFleet({
      ...this.factsOf(shape),
      spec: shape.spec,
      subnetIds: SUBNETS,
      obstacle: null,
      warm: shape.warm,
      capacity: shape.capacity,
      verdict: shape.verdict,
      room: Infinity,
      burst: 1000,
      launchesSpentUntil: null,
      listeningSince: this.since,
      nextLaunchId: `launch-${this.launchCount}`,
      now: this.world.now,
    });
  }

  /** What loadShapes loads of one shape. */
  factsOf(shape: ShapeRow): FleetFacts {
    const supply = this.supplyOf(shape);
    const unassigned = supply.filter(({ registeredAt, attempt }) => registeredAt && attempt === 'none').length;
    const isWanting = shape.warm > 0 || this.rows.inLine(shape.key).length > 0;
    return {
      demand: this.demandOf(shape, Math.max(1, unassigned)),
      supply,
      launches: [...this.rows.launches.values()]
        .filter(
          (launch) => launch.shapeKey === shape.key && (isOpen(launch) || launch.id === shape.capacity.lastLaunch?.id),
        )
        .map((launch) => ({ ...launch, rows: this.rowsOf(launch).length })),
      recent: isWanting ? this.recentOf(shape) : [],
    };
  }

  private rowsOf({ id }: LaunchRow): InstanceRow[] {
    return [...this.rows.instances.values()].filter(({ launchId }) => launchId === id);
  }

  /** The statement RECENT. */
  private recentOf({ key }: ShapeRow): RecentLaunch[] {
    const sinceMs = this.world.timeline.nowMs - RECENT_SECONDS * 1000;
    const settled = [...this.rows.launches.values()].filter(
      (launch) => launch.shapeKey === key && !isOpen(launch) && launch.createdAt.getTime() > sinceMs,
    );
    const recent = settled
      .toReversed()
      .slice(0, MOST_RECENT)
      .map((launch) => {
        const { createdAt, calledAt, offer, failure, reason, message } = launch;
        const rows = this.rowsOf(launch);
        const lost = rows.filter(
          (row) =>
            !row.registeredAt && (row.terminatedAt ?? row.retireReason ?? !['pending', 'running'].includes(row.state)),
        );
        const endOf = ({ terminatedAt }: InstanceRow): number => terminatedAt?.getTime() ?? 0;
        const last = lost.toSorted((a, b) => endOf(b) - endOf(a))[0];
        return {
          ...{ at: calledAt ?? createdAt, offer, failure, reason, message },
          rows: rows.length,
          registered: rows.filter(({ registeredAt }) => registeredAt).length,
          lost: lost.length,
          stateReason: last && !last.retireReason ? last.stateReason : null,
        };
      });
    return recent.sort((a, b) => b.at.getTime() - a.at.getTime());
  }

  private supplyOf({ key }: ShapeRow): Supply[] {
    const { nowMs } = this.world.timeline;
    return [...this.rows.instances.values()].flatMap((row): Supply[] => {
      if (row.terminatedAt || row.retireReason || row.quarantined) return [];
      const { id, state, launchedAt, registeredAt, lastSeenAt } = row;
      const facts = { id, state, launchedAt, registeredAt, lastSeenAt };
      if (!row.isAssigned) return row.shapeKey === key ? [{ ...facts, attempt: 'none' }] : [];
      const attempt = this.rows.attemptOn(id);
      if (attempt?.shapeKey !== key || !attempt.endedAt || attempt.endedAt.getTime() <= nowMs - ENDED_MS) return [];
      return [{ ...facts, attempt: 'ended' }];
    });
  }

  private demandOf({ key, verdict }: ShapeRow, most: number): Parameters<typeof planFleet>[0]['demand'] {
    const { nowMs } = this.world.timeline;
    const placeOf = ({ priority, createdAt }: AttemptRow): number =>
      createdAt.getTime() + priority * LINE_SECONDS * 1000;
    const line = this.rows.inLine(key).sort((a, b) => placeOf(a) - placeOf(b) || (a.id < b.id ? -1 : 1));
    const isDoomed = ({ createdAt, priority }: AttemptRow) =>
      verdict !== null &&
      verdict.isFinal &&
      createdAt <= verdict.at &&
      (priority > 0 || verdict.at.getTime() > nowMs - HEALING_PAUSE_MS);
    const hopeful = line.filter((attempt) => !isDoomed(attempt));
    const newestMs = Math.max(...hopeful.map(({ createdAt }) => createdAt.getTime()));
    return {
      count: hopeful.length,
      doomed: line.length - hopeful.length,
      newestAt: hopeful.length > 0 ? new Date(newestMs) : null,
      first: hopeful.slice(0, most),
    };
  }

  /** What applyFleetPlans writes of one shape. */
  private apply(shape: ShapeRow, plan: FleetPlan, claimedUntil: Date): void {
    const { world, rows } = this;
    const { now } = world;
    world.guard.beforeFleetPlan(shape, plan);
    for (const { attemptId, jobId, instanceId } of plan.assignments) {
      const attempt = rows.attempts.get(attemptId);
      const row = rows.instances.get(instanceId);
      rows.wakeJob(jobId, now);
      if (attempt?.phase !== 'waiting' || !row || !isUsable(row)) continue;
      world.guard.onAssign(attempt, instanceId);
      rows.assign(attempt, instanceId, now);
      row.isAssigned = true;
    }
    for (const { instanceId, reason } of plan.retirements) {
      const row = rows.instances.get(instanceId);
      if (!row || row.retireReason || row.terminatedAt || (reason !== 'attempt-ended' && row.isAssigned)) continue;
      if (reason === 'never-registered' && row.registeredAt) continue;
      Object.assign(row, { retireReason: reason, retiredAt: now });
    }
    if (plan.launch) this.write(shape, plan.launch);
    const isUntouched = shape.nextPassAt?.getTime() === claimedUntil.getTime();
    shape.nextPassAt = isUntouched ? plan.recheckAt : earliest(shape.nextPassAt, plan.recheckAt);
    shape.capacity = plan.capacity;
    if (!plan.isVerdictNews) return;
    shape.verdict = plan.verdict && { ...plan.verdict, at: now };
    for (const { jobId, phase, shapeKey } of rows.attempts.values())
      if (phase === 'waiting' && shapeKey === shape.key) rows.wakeJob(jobId, now);
  }

  private write(shape: ShapeRow, { id, count, offer }: NonNullable<FleetPlan['launch']>): void {
    const input = JSON.stringify({ id, count, offer, secret: this.world.timeline.nowMs });
    this.rows.launches.set(id, {
      ...NEW_LAUNCH,
      id,
      shapeKey: shape.key,
      count,
      offer,
      input,
      createdAt: this.world.now,
    });
  }

  // — launcher —

  private carryOut(launch: LaunchRow): void {
    const seen = this.seen(launch);
    const step = planNextStep(seen);
    this.inFlight.add(launch.id);
    if (step === 'withdraw') return this.settle(launch, settleWithdrawal('not-needed'), [], null);
    if (step === 'look-up') return this.lookUp(launch, seen);
    this.call(launch, seen);
  }

  private seen(launch: LaunchRow): OpenLaunch {
    const { nowMs } = this.world.timeline;
    const { status, tries, count, failure, reason, message, createdAt, calledAt } = launch;
    return {
      status: status === 'planned' ? 'planned' : 'unknown',
      tries,
      count,
      refusedAs: failure,
      reason,
      message,
      ageMs: nowMs - createdAt.getTime(),
      calledMsAgo: calledAt && nowMs - calledAt.getTime(),
      wanted: this.wanted(launch),
    };
  }

  private wanted({ shapeKey, count }: LaunchRow): number {
    return (this.rows.shapes.get(shapeKey)?.warm ?? 0) + Math.min(count, this.rows.inLine(shapeKey).length);
  }

  private call(launch: LaunchRow, seen: OpenLaunch): void {
    const { world } = this;
    const calledBefore = launch.calledAt;
    world.commit(() => {
      world.guard.onCall(launch, this.wanted(launch));
      const { now, timeline } = world;
      const nextTryAt = new Date(timeline.nowMs + CALL_MS);
      Object.assign(launch, { status: 'unknown', tries: launch.tries + 1, calledAt: now, nextTryAt });
    });
    const { answerMs } = world.weather;
    const alive = world.checkIn();
    // The call is out: it takes effect whatever becomes of the caller.
    world.timeline.after(Math.min(answerMs / 2, 2_000), () => {
      const answer = world.cloud.run({ ...launch, token: launch.id });
      world.guard.onLaunched(launch);
      const extraMs = 'refusal' in answer ? answer.afterMs : 0;
      world.timeline.after(answerMs / 2 + extraMs, () =>
        alive(() => {
          if ('instances' in answer) return this.settle(launch, { to: 'done' }, answer.instances, null);
          this.settle(launch, settleRefusal(seen, answer.refusal, 0.5), [], calledBefore);
        }),
      );
    });
  }

  private lookUp(launch: LaunchRow, seen: OpenLaunch): void {
    const { world } = this;
    const found = world.cloud.byToken(launch.id);
    const isAnswered = world.weather.describes === 'answered';
    const failure = { kind: 'unknown-outcome', reason: 'ec2-unavailable', message: '' } as const;
    world.later(world.weather.answerMs, () =>
      this.settle(launch, settleLookUp(seen, isAnswered ? found.length : failure), isAnswered ? found : [], null),
    );
  }

  /** What #settle and the statement SETTLE do. */
  private settle(
    launch: LaunchRow,
    settlement: Settlement,
    instances: readonly Ec2Instance[],
    calledBefore: Date | null,
  ): void {
    const { world } = this;
    const { failure, reason, message } = settlement.to === 'done' ? SUCCESS : settlement;
    const againMs = 'againMs' in settlement ? settlement.againMs : null;
    const isVoid = 'isVoid' in settlement && settlement.isVoid;
    this.inFlight.delete(launch.id);
    world.commit(() => {
      this.upsert(launch, instances);
      if (isOpen(launch)) {
        const calledAt = settlement.to === 'planned' ? null : ((isVoid ? calledBefore : null) ?? launch.calledAt);
        const nextTryAt = againMs === null ? null : new Date(world.timeline.nowMs + againMs);
        Object.assign(launch, { status: settlement.to, failure, reason, message, calledAt, nextTryAt });
        world.guard.onSettled(launch);
      }
      this.rows.wakeShape(launch.shapeKey, world.now);
    });
  }

  /** The registration may have been first, and a describe knows newer states than the answer of the call. */
  private upsert(launch: LaunchRow, instances: readonly Ec2Instance[]): void {
    const { now } = this.world;
    for (const { id, state, launchedAt } of instances) {
      const known = this.rows.instances.get(id);
      if (known) {
        known.observedAt ??= now;
        known.quarantined = false;
        continue;
      }
      const row = this.insertInstance(id, launch, state, launchedAt);
      row.observedAt = now;
      if (state === 'terminated') row.terminatedAt = now;
    }
  }

  // — retirer —

  private terminateAtMs({ id, retireReason, terminatedAt, state, terminateCalledAt }: InstanceRow): number {
    if (!retireReason || terminatedAt || state === 'shutting-down' || state === 'terminated') return Infinity;
    if (this.terminating.has(id)) return Infinity;
    return Math.max(this.retireAtMs, terminateCalledAt ? terminateCalledAt.getTime() + REPEAT_TERMINATE_MS : 0);
  }

  private terminate(ids: readonly string[]): void {
    const { world } = this;
    const { terminates, answerMs } = world.weather;
    for (const id of ids) this.terminating.add(id);
    const alive = world.checkIn();
    world.timeline.after(answerMs / 2, () => {
      for (const id of terminates === 'failing' ? [] : ids) {
        world.guard.onTerminate(id);
        world.cloud.terminate(id);
      }
      world.timeline.after(answerMs / 2, () =>
        alive(() => {
          for (const id of ids) this.terminating.delete(id);
          // It is unknown whether EC2 got the call: it is made again soon.
          if (terminates !== 'answered') return void (this.retireAtMs = world.timeline.nowMs + RETRY_TERMINATE_MS);
          world.commit(() => {
            for (const id of ids) Object.assign(this.rows.instances.get(id) ?? {}, { terminateCalledAt: world.now });
          });
        }),
      );
    });
  }

  // — sweep —

  private idsInBetween(): string[] {
    return [...this.rows.instances.values()].filter(isInBetween).map(({ id }) => id);
  }

  private sweepInBetween(): void {
    const { world } = this;
    this.quickSweepAtMs = world.timeline.nowMs + QUICK_SWEEP_MS;
    if (world.weather.describes === 'failing') return;
    const ids = this.idsInBetween();
    const observed = world.cloud.byIds(ids);
    this.isSweeping = true;
    world.later(world.weather.answerMs, () => {
      this.isSweeping = false;
      const known = ids.flatMap((id) => this.rows.instances.get(id) ?? []);
      const plan = this.planSweep(observed, known, [], world.now);
      this.writeSweep({ ...plan, inserts: [], quarantines: [] });
    });
  }

  /** Describe by tag; rows; describe what is missing by id; write: in between, all others go on. */
  private sweepAll(): void {
    const { world } = this;
    const { answerMs, describes } = world.weather;
    this.fullSweepAtMs = world.timeline.nowMs + FULL_SWEEP_MS;
    if (describes === 'failing') return;
    this.isSweeping = true;
    const startedAt = world.now;
    const observed = new Map(world.cloud.byTag().map((instance) => [instance.id, instance]));
    world.later(answerMs, () => {
      const known = [...this.rows.instances.values()]
        .filter(({ id, terminatedAt }) => !terminatedAt || observed.has(id))
        .map((row) => ({ ...row }));
      const missing = known.filter((row) => isExpected(row, startedAt) && !observed.has(row.id)).map(({ id }) => id);
      for (const instance of world.cloud.byIds(missing)) observed.set(instance.id, instance);
      const absent = missing.filter((id) => !observed.has(id));
      world.later(missing.length > 0 ? answerMs : 0, () => {
        this.isSweeping = false;
        this.writeSweep(this.planSweep([...observed.values()], known, absent, startedAt));
        this.retireForgotten();
      });
    });
  }

  private planSweep(
    observed: readonly Ec2Instance[],
    known: readonly InstanceRow[],
    absent: readonly string[],
    startedAt: Date,
  ): SweepPlan {
    return planSweep({
      observed,
      known,
      launches: new Set(this.rows.launches.keys()),
      absent: new Set(absent),
      tagKeys: TAG_KEYS,
      cluster: CLUSTER,
      startedAt,
      now: this.world.now,
    });
  }

  private writeSweep(plan: SweepPlan): void {
    const { world, rows } = this;
    const { now } = world;
    world.commit(() => {
      for (const update of plan.updates) {
        const row = rows.instances.get(update.id);
        if (!row) continue;
        const { state, observed, missingSince, isOver, retireReason, isChange } = update;
        const attempt = isChange ? rows.attemptOn(row.id) : undefined;
        if (attempt && (attempt.phase !== 'ended' || isOver)) rows.wakeJob(attempt.jobId, now);
        if (retireReason && !row.retireReason) Object.assign(row, { retireReason, retiredAt: now });
        Object.assign(row, { state, missingSince, terminatedAt: isOver ? (row.terminatedAt ?? now) : null });
        if (observed) row.observedAt = now;
        if (isChange) rows.wakeShape(row.shapeKey, now);
      }
    });
    if (plan.inserts.length + plan.quarantines.length === 0) return;
    world.commit(() => {
      for (const { instance, launchId } of plan.inserts) {
        const launch = rows.launches.get(launchId);
        if (!launch) continue;
        this.upsert(launch, [instance]);
        rows.wakeShape(launch.shapeKey, now);
      }
      for (const { id, state, launchedAt } of plan.quarantines) {
        if (!rows.instances.has(id))
          rows.instances.set(id, {
            ...NEW_INSTANCE,
            id,
            state,
            launchedAt,
            privateIp: addressOf(id),
            quarantined: true,
          });
      }
    });
  }

  private retireForgotten(): void {
    const { world, rows } = this;
    const before = world.timeline.nowMs - 120_000;
    world.commit(() => {
      for (const attempt of rows.attempts.values()) {
        const row = attempt.assignment && rows.instances.get(attempt.assignment.instanceId);
        if (!row || row.terminatedAt || row.retireReason || !attempt.endedAt) continue;
        if (attempt.endedAt.getTime() < before)
          Object.assign(row, { retireReason: 'attempt-ended', retiredAt: world.now });
      }
    });
  }

  // — silence —

  private listen(): void {
    const { world, rows } = this;
    const { nowMs } = world.timeline;
    this.silenceAtMs = nowMs + SILENCE_MS;
    world.hearAll();
    const watched = [...rows.instances.values()].filter(
      (row) => row.isAssigned && !row.terminatedAt && !row.retireReason && row.registeredAt,
    );
    const silent = watched.flatMap(({ id, lastSeenAt, unreachableAt }) =>
      !unreachableAt && lastSeenAt && lastSeenAt.getTime() < nowMs - SILENT_SECONDS * 1000 ? [{ id, lastSeenAt }] : [],
    );
    const returned = watched.filter(
      ({ lastSeenAt, unreachableAt }) => lastSeenAt && unreachableAt && lastSeenAt > unreachableAt,
    );
    if (silent.length + returned.length === 0) return;
    const seen = { silent, total: watched.length, listeningSince: this.listeningSince, now: world.now };
    const ids = world.weather.describes === 'failing' ? [] : instancesToCheck(seen);
    const health = new Map<string, Ec2Health>(ids.map((id) => [id, world.cloud.health(id)]));
    const { isCutOff, unreachable } = planSilence({ ...seen, health });
    if (isCutOff) this.listeningSince = world.now;
    if (unreachable.length + returned.length === 0) return;
    world.commit(() => {
      for (const { instanceId } of unreachable) this.mark(instanceId, world.now);
      for (const { id } of returned) this.mark(id, null);
    });
  }

  private mark(instanceId: string, unreachableAt: Date | null): void {
    const { world, rows } = this;
    const row = rows.instances.get(instanceId);
    const attempt = rows.attemptOn(instanceId);
    if (!row) return;
    if (unreachableAt) world.guard.onUnreachable(row);
    row.unreachableAt = unreachableAt;
    if (attempt && attempt.phase !== 'ended') rows.wakeJob(attempt.jobId, world.now);
  }
}

function isInBetween({ terminatedAt, terminateCalledAt, state, registeredAt }: InstanceRow): boolean {
  if (terminatedAt) return false;
  if (terminateCalledAt || state === 'stopping' || state === 'shutting-down') return true;
  return state === 'pending' && !registeredAt;
}

function earliest(a: Date | null, b: Date | null): Date | null {
  if (!a || !b) return a ?? b;
  return a < b ? a : b;
}

const SUCCESS = { failure: null, reason: null, message: null };
/** Whether it can be given to an attempt. */
function isUsable({ state, isAssigned, registeredAt, retireReason, terminatedAt, quarantined }: InstanceRow): boolean {
  const isLeaving = retireReason !== null || terminatedAt !== null || !['pending', 'running'].includes(state);
  return registeredAt !== null && !isAssigned && !isLeaving && !quarantined;
}

const NEW_LAUNCH = {
  status: 'planned',
  tries: 0,
  failure: null,
  reason: null,
  message: null,
  calledAt: null,
  nextTryAt: null,
} as const;
const NEW_INSTANCE = {
  stateReason: null,
  availabilityZone: null,
  instanceType: null,
  imageId: 'ami-0123456789abcdef0',
  privateIp: null,
  publicIp: null,
  observedAt: null,
  missingSince: null,
  terminatedAt: null,
  retireReason: null,
  quarantined: false,
  launchId: null,
  shapeKey: null,
  registeredAt: null,
  lastSeenAt: null,
  unreachableAt: null,
  retiredAt: null,
  terminateCalledAt: null,
  isAssigned: false,
} as const;
