import type { Attempt } from '../../deployments/attempt.entity.js';
import type { Instance } from '../instance.entity.js';
import { type Brake, planBrake, type RecentLaunch } from './plan-brake.js';
import {
  type CapacityState,
  isRefusal,
  type LaunchView,
  learn,
  MOST_PER_LAUNCH,
  nextOffer,
  type Offer,
  offersOf,
  type Outcome,
  type Wishes,
} from './plan-capacity.js';

/** All facts about one shape; times of the database's clock. */
export type FleetInput = {
  readonly spec: Wishes;
  /** Where it may run, in turn. */
  readonly subnetIds: readonly string[];
  /** Why no launch can be planned: image or subnets are not known, or not allowed. */
  readonly obstacle: Obstacle | null;
  readonly demand: Demand;
  /** Waiting attempts, not in `demand`, whose own instance from quarantine has registered again. */
  readonly adoptions?: readonly Adoption[];
  /** Living, not retired, not quarantined: without an attempt, or with one that has ended. */
  readonly supply: readonly Supply[];
  /** The open ones, and the last one. */
  readonly launches: readonly LaunchView[];
  /** Launches settled in the last hour, newest first. */
  readonly recent: readonly RecentLaunch[];
  /** Registered spares to keep. */
  readonly warm: number;
  readonly capacity: CapacityState;
  readonly verdict: Verdict | null;
  /** Instances MAX_INSTANCES leaves; Infinity without it. */
  readonly room: number;
  /** Instances EC2's own quota lets one call start now. */
  readonly burst: number;
  /** Null, or until when MAX_LAUNCHES_PER_MINUTE leaves no launch to any shape. */
  readonly launchesSpentUntil: Date | null;
  /** Silence counts from here at the earliest: before, no process of ours was listening. */
  readonly listeningSince: Date;
  readonly nextLaunchId: string;
  readonly now: Date;
};

export type Demand = {
  /** Waiting attempts without an instance, except the doomed. */
  readonly count: number;
  /** Waiting attempts that a final verdict already covers. */
  readonly doomed: number;
  readonly newestAt: Date | null;
  /** The first in line; as many as there may be instances for. */
  readonly first: readonly WaitingAttempt[];
};
export type WaitingAttempt = Readonly<Pick<Attempt, 'id' | 'jobId' | 'priority' | 'createdAt'>>;

export type Adoption = { readonly attemptId: string; readonly jobId: string; readonly instanceId: string };

export type Supply = Readonly<Pick<Instance, 'id' | 'state' | 'launchedAt' | 'registeredAt' | 'lastSeenAt'>> & {
  /** `adoption-failed`: it ended before it was healthy, on an instance that already ran its container. */
  readonly attempt: 'none' | 'ended' | 'adoption-failed';
};

export type Obstacle = { readonly reason: string; readonly message: string; readonly isFinal: boolean };

/** What waiting attempts wait for when EC2 refuses. Final = waiting cannot help. */
export type Verdict = Obstacle & { readonly at: Date };

export type FleetPlan = {
  readonly assignments: readonly (Adoption & { readonly reason: 'first-in-line' | 'adopted' })[];
  readonly launch: { id: string; count: number; offer: Offer; reason: 'attempts-waiting' | 'spares-wanted' } | null;
  readonly retirements: readonly { instanceId: string; reason: RetireReason }[];
  /** Back to quarantine: an operator decides again. */
  readonly quarantines: readonly string[];
  readonly verdict: Verdict | null;
  /** Whether `verdict` is new to the waiting attempts. */
  readonly isVerdictNews: boolean;
  readonly capacity: CapacityState;
  /** When something can happen by itself; null = nothing. */
  readonly recheckAt: Date | null;
};

export const RETIRE_REASONS = [
  'attempt-ended',
  'stopped-outside',
  'never-registered',
  'idle-surplus',
  'idle-silent',
] as const;
export type RetireReason = (typeof RETIRE_REASONS)[number];

/** An idle agent polls every 25 s, and its time is stored every 10 s: shorter would skip good instances. */
export const SEEN_LATELY_SECONDS = 45;
/** Instances register in 20–40 s (docs/ec2.md); with longer one slow boot would hold up an attempt. */
export const SOFT_BOOT_SECONDS = 90;
/** The agent's dead-man switch ends it after 15 minutes anyway; this saves the money until then. */
export const NEVER_REGISTERED_SECONDS = 600;
/** The next deployment of a shape often follows within seconds; longer pays for nothing. */
export const IDLE_SECONDS = 15;
/** A spare that does not poll is of no use. */
export const IDLE_SILENT_SECONDS = 600;
/**
 * One step of priority is worth this much waiting. A heal is served before new deployments of the last ten minutes; no
 * attempt is overtaken by one a quarter of an hour younger, whatever its priority. Longer than an api deployment's own
 * deadline (900 s) could starve the last in line; shorter lets a flood of deployments hold up a heal.
 */
export const LINE_SECONDS = 300;
/** The verdict that room in the fleet is shared out by: see load-shapes. */
export const LIMIT_REACHED = 'instance-limit-reached';
const LAUNCH_PAUSE_SECONDS = 1;
/** Tries of an open launch after which the waiting attempts get the reason. */
const TRIES_TO_REPORT = 3;
/** Covers missed wake-ups while attempts wait. */
const WAITING_RECHECK_SECONDS = 10;
const OBSTACLE_RECHECK_SECONDS = 5;
/** The verdict that all launches of this minute are used up. */
const LAUNCHES_SPENT = 'launches-per-minute-reached';

/** Decides what one shape needs now. Total and pure: every input has a plan, and applying it twice does no harm. */
export function planFleet(input: FleetInput): FleetPlan {
  const { now, demand, warm } = input;
  const { capacity, outcome } = learn(input.capacity, input.launches, offersOf(input.spec, input.subnetIds), now);
  const mustRetire = input.supply.flatMap((instance) => {
    const reason = retireReasonOf(instance, input);
    return reason ? [{ instanceId: instance.id, reason }] : [];
  });
  const leaving = new Set(mustRetire.map(({ instanceId }) => instanceId));
  const usable = input.supply.filter(
    ({ id, state, attempt }) => !leaving.has(id) && attempt === 'none' && (state === 'pending' || state === 'running'),
  );
  const spares = usable.filter(isRegistered).sort(byRegistration);
  const ready = spares.filter(({ lastSeenAt }) => isWithin(lastSeenAt, SEEN_LATELY_SECONDS, now));
  const quiet = spares.filter(
    (spare) => !ready.includes(spare) && isWithin(heardAt(spare, input), SEEN_LATELY_SECONDS, now),
  );

  const line = demand.first.toSorted(byPlaceInLine);
  const assignments = line.slice(0, ready.length).map((attempt, index) => ({
    attemptId: attempt.id,
    jobId: attempt.jobId,
    instanceId: ready[index]?.id ?? '',
    reason: 'first-in-line' as const,
  }));
  const waiting = Math.max(0, demand.count - assignments.length);
  const idle = spares.filter(({ id }) => !assignments.some(({ instanceId }) => instanceId === id));
  const onHand = ready.length - assignments.length + quiet.length;
  const booting = usable.filter(({ registeredAt }) => registeredAt === null);
  const young = booting.filter(({ launchedAt }) => isWithin(launchedAt, SOFT_BOOT_SECONDS, now)).length;

  const needed = waiting + warm - onHand - countOnTheWay(booting.length, young, waiting);
  // The attempts that wait now are about to get the final verdict.
  const isRefused = outcome.kind === 'refused-for-good';
  const brake = planBrake({ recent: input.recent, wanted: waiting + warm, bootSeconds: SOFT_BOOT_SECONDS, now });
  const { launch, blockedBy, retryAt } = planLaunch(input, capacity, brake, isRefused ? 0 : needed, waiting);
  const isOnHand = (spare: Registered): boolean => ready.includes(spare) || quiet.includes(spare);
  const surplus = planSurplus(idle, isOnHand, onHand - warm - waiting, now);
  const trouble = blockedBy ?? troubleOf(input, booting, waiting) ?? blockOf(brake);
  const verdict = planVerdict(input, outcome, trouble, waiting);
  const adopted = (input.adoptions ?? []).map((adoption) => ({ ...adoption, reason: 'adopted' as const }));
  return {
    assignments: [...adopted, ...assignments],
    launch,
    retirements: [...mustRetire, ...surplus.retirements],
    quarantines: input.supply.filter(({ attempt }) => attempt === 'adoption-failed').map(({ id }) => id),
    ...verdict,
    capacity: launch ? withLaunch(capacity, launch, now) : capacity,
    recheckAt: earliest([
      retryAt,
      surplus.recheckAt,
      waiting > 0 || demand.doomed > 0 ? after(now, WAITING_RECHECK_SECONDS) : null,
      ...booting.map(({ launchedAt }) => nextAge(launchedAt, [SOFT_BOOT_SECONDS, NEVER_REGISTERED_SECONDS], now)),
      ...idle.map((spare) => after(heardAt(spare, input), IDLE_SILENT_SECONDS)),
    ]),
  };
}

type Registered = Supply & { readonly registeredAt: Date };
/** `isOldNews`: the attempts covered by a final verdict already have this reason. */
type Blocked = Obstacle & { readonly isOldNews?: boolean };
type LaunchStep = {
  readonly launch: FleetPlan['launch'];
  readonly blockedBy: Blocked | null;
  readonly retryAt: Date | null;
};

/** First match wins. */
function retireReasonOf(instance: Supply, input: FleetInput): RetireReason | null {
  const { now } = input;
  if (instance.attempt === 'ended') return 'attempt-ended';
  if (instance.attempt === 'adoption-failed') return null;
  // A person may start it again, with an agent that has missed all orders: it is never used again.
  if (instance.state === 'stopping' || instance.state === 'stopped') return 'stopped-outside';
  if (instance.state !== 'pending' && instance.state !== 'running') return null;
  if (!isRegistered(instance)) {
    return isWithin(instance.launchedAt, NEVER_REGISTERED_SECONDS, now) ? null : 'never-registered';
  }
  return isWithin(heardAt(instance, input), IDLE_SILENT_SECONDS, now) ? null : 'idle-silent';
}

/** Besides what an open launch may bring: no other is planned beside it. */
function countOnTheWay(booting: number, young: number, waiting: number): number {
  // One slow wave is replaced. When the replacement is slow as well, agents cannot reach the API, and those of a third
  // could not either.
  return young + Math.max(0, booting - young - waiting);
}

function planLaunch(
  input: FleetInput,
  capacity: CapacityState,
  brake: Brake,
  needed: number,
  waiting: number,
): LaunchStep {
  const { now, launches, obstacle, room, spec, subnetIds, launchesSpentUntil } = input;
  const wait = (retryAt: Date | null, blockedBy: Blocked | null = null) => ({ launch: null, blockedBy, retryAt });
  if (needed <= 0 || launches.some(isOpen)) return wait(null);
  if (obstacle) return wait(after(now, OBSTACLE_RECHECK_SECONDS), obstacle);
  const pausedUntil = capacity.lastLaunch && after(new Date(capacity.lastLaunch.at), LAUNCH_PAUSE_SECONDS);
  if (pausedUntil && pausedUntil > now) return wait(pausedUntil);
  const offer = nextOffer(capacity, spec, subnetIds, brake.lossesOf);
  if (!offer) return wait(nextOfferAt(capacity), exhausted(capacity));
  if (brake.most < 1) return wait(brake.until, blockOf(brake));
  if (room < 1) {
    const message = 'the fleet has as many instances as MAX_INSTANCES allows';
    return wait(after(now, WAITING_RECHECK_SECONDS), { reason: LIMIT_REACHED, message, isFinal: false });
  }
  if (launchesSpentUntil) {
    const message = 'the fleet launches as often as MAX_LAUNCHES_PER_MINUTE allows';
    return wait(launchesSpentUntil, { reason: LAUNCHES_SPENT, message, isFinal: false });
  }
  const count = Math.min(
    needed,
    room,
    Math.max(1, input.burst),
    capacity.countLimit ?? MOST_PER_LAUNCH,
    brake.most,
    MOST_PER_LAUNCH,
  );
  const reason = waiting > 0 ? 'attempts-waiting' : 'spares-wanted';
  return { launch: { id: input.nextLaunchId, count, offer, reason }, blockedBy: null, retryAt: null };
}

function planSurplus(
  idle: readonly Registered[],
  isOnHand: (spare: Registered) => boolean,
  surplus: number,
  now: Date,
) {
  if (surplus <= 0) return { retirements: [], recheckAt: null };
  const ripe = idle.filter(({ registeredAt }) => !isWithin(registeredAt, IDLE_SECONDS, now));
  // Instances not seen lately are not counted as supply, so all of them are retired. Of the surplus, the longest silent
  // first.
  const counted = ripe.filter(isOnHand).sort(bySilence);
  const leaving = [...ripe.filter((spare) => !isOnHand(spare)), ...counted.slice(0, surplus)];
  return {
    retirements: leaving.map(({ id }) => ({ instanceId: id, reason: 'idle-surplus' as const })),
    recheckAt: earliest(idle.map(({ registeredAt }) => nextAge(registeredAt, [IDLE_SECONDS], now))),
  };
}

/** Why attempts wait although all that can be done is under way. */
function troubleOf({ launches, now }: FleetInput, booting: readonly Supply[], waiting: number): Blocked | null {
  const stuck = launches.find((launch) => isOpen(launch) && launch.tries >= TRIES_TO_REPORT && launch.reason);
  if (stuck) return { reason: stuck.reason ?? '', message: stuck.message ?? '', isFinal: false };
  const slow = booting.filter(({ launchedAt }) => !isWithin(launchedAt, SOFT_BOOT_SECONDS, now)).length;
  if (waiting === 0 || slow < 2 * waiting) return null;
  const message = `${slow} instances were launched and did not register; can they reach PUBLIC_URL?`;
  return { reason: 'instances-do-not-register', message, isFinal: false };
}

function planVerdict(
  { verdict, demand, now }: FleetInput,
  outcome: Outcome,
  trouble: Blocked | null,
  waiting: number,
): Pick<FleetPlan, 'verdict' | 'isVerdictNews'> {
  if (outcome.kind === 'refused-for-good') {
    const { reason, message } = outcome;
    return { verdict: { reason, message, isFinal: true, at: now }, isVerdictNews: true };
  }
  // It holds until the attempts it covers have ended; a later attempt is launched for.
  if (verdict?.isFinal && demand.doomed > 0 && outcome.kind !== 'launched' && (!trouble || trouble.isOldNews)) {
    return { verdict, isVerdictNews: false };
  }
  if (!trouble || waiting === 0) return { verdict: null, isVerdictNews: verdict !== null };
  const isKnown =
    verdict?.reason === trouble.reason &&
    verdict.message === trouble.message &&
    verdict.isFinal === trouble.isFinal &&
    (demand.newestAt === null || demand.newestAt < verdict.at);
  if (isKnown) return { verdict, isVerdictNews: false };
  const { reason, message, isFinal } = trouble;
  return { verdict: { reason, message, isFinal, at: now }, isVerdictNews: true };
}

function blockOf({ trouble }: Brake): Blocked | null {
  return trouble && { ...trouble, isFinal: false, isOldNews: true };
}

function exhausted({ failedOffers = [] }: CapacityState): Blocked {
  // No attempt waits for an offer that is refused for good.
  const last = failedOffers.findLast((offer) => !isRefusal(offer)) ?? failedOffers.at(-1);
  const next = nextOfferAt({ failedOffers });
  const again = next ? `; the next try is at ${next.toISOString()}` : '';
  return {
    reason: last?.reason ?? 'no-subnet',
    message: `${last?.message ?? 'there is no subnet'}${again}`,
    isFinal: !last,
  };
}

function nextOfferAt({ failedOffers = [] }: CapacityState): Date | null {
  return earliest(failedOffers.map(({ until }) => new Date(until)));
}

function withLaunch(capacity: CapacityState, launch: { id: string; offer: Offer }, now: Date): CapacityState {
  const lastLaunch = { id: launch.id, at: now.toISOString(), isSettled: false };
  return { ...capacity, lastLaunch, lastSubnetId: launch.offer.subnetId };
}

function isOpen({ status }: LaunchView): boolean {
  return status === 'planned' || status === 'unknown';
}

function isRegistered(instance: Supply): instance is Registered {
  return instance.registeredAt !== null;
}

/** Since when an instance has been silent while this process was listening. */
function heardAt({ lastSeenAt, registeredAt }: Registered, { listeningSince }: FleetInput): Date {
  return latest([lastSeenAt ?? registeredAt, listeningSince]);
}

function byRegistration(a: Registered, b: Registered): number {
  return a.registeredAt.getTime() - b.registeredAt.getTime() || (a.id < b.id ? -1 : 1);
}

function bySilence(a: Registered, b: Registered): number {
  return (a.lastSeenAt?.getTime() ?? 0) - (b.lastSeenAt?.getTime() ?? 0) || byRegistration(a, b);
}

function byPlaceInLine(a: WaitingAttempt, b: WaitingAttempt): number {
  return placeInLine(a) - placeInLine(b) || (a.id < b.id ? -1 : 1);
}

/** Priority counts as earlier or later creation. The place never changes, so no attempt is overtaken without end. */
export function placeInLine({ priority, createdAt }: WaitingAttempt): number {
  return after(createdAt, priority * LINE_SECONDS).getTime();
}

function isWithin(at: Date | null, seconds: number, now: Date): boolean {
  return at !== null && now < after(at, seconds);
}

function after(at: Date, seconds: number): Date {
  return new Date(at.getTime() + seconds * 1000);
}

/** The next of these ages that is still to come. */
function nextAge(since: Date, ages: readonly number[], now: Date): Date | null {
  return earliest(ages.map((seconds) => after(since, seconds)).filter((at) => at > now));
}

function earliest(times: readonly (Date | null)[]): Date | null {
  const known = times.flatMap((time) => (time ? [time.getTime()] : []));
  return known.length > 0 ? new Date(Math.min(...known)) : null;
}

function latest(times: readonly Date[]): Date {
  return new Date(Math.max(...times.map((time) => time.getTime())));
}
