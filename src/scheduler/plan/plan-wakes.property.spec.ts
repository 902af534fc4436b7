import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { PlannerWorld, type WorldAttempt, type WorldOrder } from '../../../test/support/planner-world.js';
import { isEnded } from '../../deployments/deployment-status.js';
import { isInService } from './plan-attempt.js';
import { planJob } from './plan-job.js';

// Random histories of one job in which each pass comes at the moment that the one before it named, and not later.
const RUNS = { numRuns: Number(process.env['HISTORIES'] ?? 150), seed: Number(process.env['SEED'] ?? 7) };
const YEAR_SECONDS = 365 * 86_400;

const SERVICES: readonly object[] = [
  {},
  { instance: { market: 'spot' } },
  { memoryMiB: 256, onCapacity: 'fail' },
  { health: { path: '/', port: 80 }, ports: [{ container: 80, host: 80 }], maxSilenceSeconds: 90 },
];
const ROLLOUTS: readonly object[] = [
  {},
  { drainSeconds: 0, stopGraceSeconds: 0 },
  { drainSeconds: 600, deadlineSeconds: 60 },
  { drainSeconds: 60, deadlineSeconds: 7200, stableSeconds: 40 },
];
/** Besides the good one; of a pull, 200 with an error is another. */
const REFUSALS: readonly (readonly [number, string])[] = [
  [0, ''],
  [500, '{"message":"no"}'],
  [404, '{"message":"No such container"}'],
  [200, '{"error":"received unexpected HTTP status: 503 Service Unavailable"}'],
];
const VERDICTS = ['insufficient-capacity', 'ec2-throttled'];
const SECONDS = [0.1, 1, 5, 11, 60, 400, 4_000];

type Step = {
  readonly does:
    | 'deploy'
    | 'ask'
    | 'assign'
    | 'answer'
    | 'refuse'
    | 'take'
    | 'probe'
    | 'exit'
    | 'work'
    | 'lose'
    | 'verdict'
    | 'notice'
    | 'outage'
    | 'time';
  readonly pick: number;
};

const stepOf = (weight: number, ...kinds: Step['does'][]) => ({
  weight,
  arbitrary: fc.record({ does: fc.constantFrom(...kinds), pick: fc.nat(31) }),
});
const histories = fc.array(
  fc.oneof(
    stepOf(3, 'deploy', 'ask', 'verdict', 'notice', 'outage', 'lose'),
    stepOf(3, 'assign', 'answer', 'take', 'refuse', 'probe'),
    stepOf(4, 'exit'),
    stepOf(4, 'work'),
    stepOf(6, 'time'),
  ),
  { minLength: 10, maxLength: 50 },
);

describe('a job over random histories', () => {
  it('decides nothing between two passes, and what it says is whole', () => {
    fc.assert(
      fc.property(histories, (history) => {
        const world = new PlannerWorld();
        world.deploy();
        for (const step of history) {
          play(world, step);
          world.settle();
          check(world);
        }
      }),
      RUNS,
    );
  }, 600_000);
});

function check(world: PlannerWorld): void {
  const facts = world.facts();
  const { nowMs, nextPassAt } = world;
  const untilMs = nextPassAt ? nextPassAt.getTime() - 1 : nowMs + YEAR_SECONDS * 1000;
  for (const atMs of new Set([nowMs, Math.round((nowMs + untilMs) / 2), untilMs])) {
    const plan = planJob(facts, new Date(atMs), world.listeningSince);
    const { deployments, attempts, newAttempts, orders, status, activeDeploymentId, isGone } = plan;
    const decided = [...deployments, ...attempts, ...newAttempts, ...orders];
    if (decided.length > 0) expect({ at: new Date(atMs), decided }).toEqual({ at: new Date(atMs), decided: [] });
    if (status !== world.status || activeDeploymentId !== world.activeDeploymentId || isGone !== world.isGone)
      expect(plan).toMatchObject({ status: world.status, activeDeploymentId: world.activeDeploymentId });
  }
  if (world.isGone) expect(nextPassAt).toBeNull();
  for (const { reason, message, status, endedAt, attempts } of world.deployments) {
    if (isEnded(status) !== (endedAt !== null)) expect([status, endedAt]).toEqual([status, 'the time of its end']);
    for (const said of [message, ...attempts.map((attempt) => attempt.message)]) {
      if (said !== null && /undefined|null|NaN|\(\)/.test(said)) expect(said).toBe('whole');
    }
    for (const { orders } of attempts) {
      if (orders.some(({ number }, index) => number !== index + 1)) expect(orders).toBe('numbered without a gap');
    }
    const announced = /; attempt (\d+) (begins|is) /.exec(message ?? '');
    // Of an ended one it may have been cancelled since.
    if (!announced || !reason || !['deploying', 'active'].includes(status)) continue;
    const last = attempts.at(-1)?.number ?? 0;
    expect(Number(announced[1])).toBe(announced[2] === 'begins' ? last + 1 : last);
  }
}

function play(world: PlannerWorld, { does, pick }: Step): void {
  if (does === 'time') return pass(world, SECONDS[pick % SECONDS.length] ?? 0);
  if (does === 'work') return world.cooperate();
  if (does === 'deploy' || does === 'ask') ask(world, does, pick);
  else if (does === 'outage') world.listeningSince = world.now;
  else {
    const live = world.live();
    const attempt = live[pick % Math.max(1, live.length)];
    if (attempt?.instance) happen(world, attempt, does, pick);
    else if (attempt) line(world, attempt, does, pick);
  }
  world.wake();
}

/** Time goes from one pass to the next, and nobody does anything. */
function pass(world: PlannerWorld, seconds: number): void {
  const endMs = world.nowMs + seconds * 1000;
  while (world.nextPassAt && world.nextPassAt.getTime() <= endMs) {
    world.nowMs = Math.max(world.nowMs, world.nextPassAt.getTime());
    world.settle();
    check(world);
  }
  world.nowMs = endMs;
}

function ask(world: PlannerWorld, does: 'deploy' | 'ask', pick: number): void {
  if (world.desiredState === 'deleted') return;
  const latest = world.deployments.at(-1);
  if (does === 'deploy') {
    const rollout = ROLLOUTS[pick % ROLLOUTS.length];
    world.deploy({ ...SERVICES[(pick >> 2) % SERVICES.length], rollout });
  } else if (pick % 3 === 0) world.desiredState = pick === 30 ? 'deleted' : 'stopped';
  else if (latest && ['queued', 'deploying'].includes(latest.status)) latest.cancelRequestedAt = world.now;
}

/** To an attempt that waits. */
function line(world: PlannerWorld, attempt: WorldAttempt, does: Step['does'], pick: number): void {
  if (does === 'assign') world.assign(attempt);
  if (does !== 'verdict') return;
  const reason = VERDICTS[pick % VERDICTS.length] ?? '';
  attempt.verdict = pick % 5 ? { reason, message: 'none', at: world.now, isFinal: pick > 28 } : null;
}

/** On an instance. */
function happen(world: PlannerWorld, attempt: WorldAttempt, does: Step['does'], pick: number): void {
  const open = attempt.orders.filter(({ purpose, answeredAt }) => !answeredAt && !LATER.includes(purpose));
  const order: WorldOrder | undefined = open[0];
  if (does === 'answer' && order) world.answer(order);
  if (does === 'take' && order) order.takenAt ??= world.now;
  const [status, body] = REFUSALS[pick % REFUSALS.length] ?? [0, ''];
  if (does === 'refuse' && order) world.answer(order, status, body);
  if (does === 'probe' && attempt.orders.some(({ purpose }) => purpose === 'probe'))
    world.probe(attempt, pick % 3 ? 'unhealthy' : 'healthy');
  const wait = world.openOrder(attempt, 'wait');
  const isStarted = attempt.orders.some(({ purpose, answeredAt }) => purpose === 'start' && answeredAt);
  if (does === 'exit' && wait && isStarted)
    // That Docker does not answer is seen by the next pass, which the answer to the restart policy brings.
    world.answer(
      wait,
      pick % 7 || !isInService(attempt) ? 200 : 0,
      pick === 9 ? '{}' : `{"StatusCode":${[0, 1, 137][pick % 3] ?? 0}}`,
    );
  const watch = world.openOrder(attempt, 'watch-spot');
  if (does === 'notice' && watch) world.answer(watch, 200, '{"action":"terminate"}');
  if (does === 'lose') world.lose(attempt, (['terminated', 'stopped', 'gone'] as const)[pick % 3] ?? 'gone');
}

const LATER: readonly string[] = ['wait', 'watch-spot', 'follow-logs', 'probe'];
