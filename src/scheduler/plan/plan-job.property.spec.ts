import { describe, it } from '@jest/globals';
import fc from 'fast-check';
import { PlannerWorld, type WorldAttempt, type WorldDeployment } from '../../../test/support/planner-world.js';
import { isEnded, mayBecome } from '../../deployments/deployment-status.js';

// Random histories of one job: users, fleet, agents and misfortune act in any order at any moment. Safety is checked
// after every pass; then all of them behave, and the job must come to rest. HISTORIES and SEED come from the
// environment.
const HISTORIES = Number(process.env['HISTORIES'] ?? 2_000);
const SEED = process.env['SEED'] === undefined ? {} : { seed: Number(process.env['SEED']) };

type Disturbance = {
  kind: 'assign' | 'answer' | 'fail' | 'lose' | 'exit' | 'healthy' | 'unhealthy' | 'verdict' | 'clear';
  pick: number;
};
type Event =
  | { kind: 'deploy'; hasHealth: boolean; drainSeconds: number }
  | { kind: 'cancel' | 'stop' | 'delete' | 'pass' }
  | { kind: 'time'; seconds: number }
  | Disturbance;

const events: fc.Arbitrary<Event[]> = fc.array(
  fc.oneof(
    {
      weight: 2,
      arbitrary: fc.record({
        kind: fc.constant('deploy' as const),
        hasHealth: fc.boolean(),
        drainSeconds: fc.constantFrom(0, 10, 60),
      }),
    },
    { weight: 1, arbitrary: fc.record({ kind: fc.constantFrom('cancel' as const, 'stop' as const) }) },
    {
      weight: 1,
      arbitrary: fc.constantFrom<Event>({ kind: 'delete' }, { kind: 'pass' }, { kind: 'pass' }, { kind: 'pass' }),
    },
    {
      weight: 6,
      arbitrary: fc.record({ kind: fc.constant('time' as const), seconds: fc.constantFrom(0.1, 1, 5, 11, 60, 400) }),
    },
    { weight: 6, arbitrary: fc.record({ kind: fc.constant('assign' as const), pick: fc.nat(9) }) },
    {
      weight: 14,
      arbitrary: fc.record({ kind: fc.constantFrom('answer' as const, 'healthy' as const), pick: fc.nat(9) }),
    },
    {
      weight: 5,
      arbitrary: fc.record({
        kind: fc.constantFrom(
          'fail' as const,
          'lose' as const,
          'exit' as const,
          'unhealthy' as const,
          'verdict' as const,
          'clear' as const,
        ),
        pick: fc.nat(9),
      }),
    },
  ),
  { minLength: 5, maxLength: 60 },
);

describe('planJob over random histories', () => {
  it(`is safe at every pass and comes to rest (${HISTORIES} histories)`, () => {
    fc.assert(
      fc.property(events, (history) => {
        const world = new PlannerWorld();
        const guard = new Guard(world);
        for (const event of history) {
          play(world, event);
          guard.check();
        }
        for (const attempt of world.live()) attempt.verdict = null;
        world.wake();
        const before = world.deployments.length;
        world.run(4 * 3600);
        guard.check();
        guard.checkRest(before);
      }),
      { numRuns: HISTORIES, ...SEED },
    );
  }, 600_000);
});

function play(world: PlannerWorld, event: Event): void {
  if (event.kind === 'deploy') {
    if (world.desiredState === 'deleted') return;
    const health = { health: { path: '/', port: 80 }, ports: [{ container: 80, host: 80 }] };
    world.deploy({ ...(event.hasHealth && health), rollout: { drainSeconds: event.drainSeconds } });
  } else if (event.kind === 'cancel') cancelLatest(world);
  else if (event.kind === 'stop') setDesired(world, 'stopped');
  else if (event.kind === 'delete') setDesired(world, 'deleted');
  else if (event.kind === 'time') world.advance(event.seconds);
  else if ('pick' in event) disturb(world, event.kind, event.pick);
  if (world.nextPassAt && world.nextPassAt <= world.now) world.pass();
}

function cancelLatest(world: PlannerWorld): void {
  const deployment = world.deployments.at(-1);
  if (!deployment || !['queued', 'deploying'].includes(deployment.status)) return;
  deployment.cancelRequestedAt = world.now;
  world.wake();
}

function setDesired(world: PlannerWorld, state: 'stopped' | 'deleted'): void {
  if (world.desiredState === 'deleted') return;
  world.desiredState = state;
  world.wake();
}

function disturb(world: PlannerWorld, kind: Disturbance['kind'], pick: number): void {
  const live = world.live();
  const attempt = live[pick % Math.max(1, live.length)];
  if (!attempt) return;
  if (kind === 'assign' && !attempt.instance) world.assign(attempt);
  if (kind === 'lose' && attempt.instance) world.lose(attempt, pick % 2 ? 'terminated' : 'stopped');
  if (kind === 'verdict' && !attempt.instance) {
    attempt.verdict = { reason: 'insufficient-capacity', message: 'none', at: world.now, isFinal: pick > 7 };
    world.wake();
  }
  if (kind === 'clear') attempt.verdict = null;
  const open = attempt.orders.filter(
    ({ purpose, answeredAt }) => !answeredAt && purpose !== 'wait' && purpose !== 'probe',
  );
  const order = open[pick % Math.max(1, open.length)];
  if (kind === 'answer' && order) world.answer(order);
  if (kind === 'fail' && order) world.answer(order, pick % 3 ? 500 : 0, '{"message":"no"}');
  const wait = world.openOrder(attempt, 'wait');
  if (kind === 'exit' && wait && attempt.orders.some(({ purpose, answeredAt }) => purpose === 'start' && answeredAt))
    world.answer(wait);
  const hasProbe = attempt.orders.some(({ purpose }) => purpose === 'probe');
  if ((kind === 'healthy' || kind === 'unhealthy') && hasProbe) world.probe(attempt, kind);
}

/** Watches what must never happen, from one pass to the next. */
class Guard {
  private statuses = new Map<string, WorldDeployment['status']>();
  private readonly cancelled = new Set<string>();

  constructor(private readonly world: PlannerWorld) {}

  check(): void {
    const { deployments, desiredState, activeDeploymentId } = this.world;
    const active = deployments.filter(({ status }) => status === 'active');
    claim(active.length <= 1, 'two deployments are active');
    claim(
      (active[0]?.id ?? null) === (desiredState === 'running' || active[0] ? activeDeploymentId : null) || !active[0],
      'the job names another active deployment',
    );
    for (const deployment of deployments) this.checkDeployment(deployment);
    this.checkInstances();
    this.statuses = new Map(deployments.map(({ id, status }) => [id, status]));
  }

  /** After hours of good behaviour nothing is under way any more. */
  checkRest(deploymentCount: number): void {
    const { world } = this;
    claim(world.deployments.length === deploymentCount, 'the planner made a deployment');
    for (const { number, status, cancelRequestedAt } of world.deployments) {
      claim(isEnded(status) || status === 'active', `deployment ${number} is still ${status}`);
      claim(!cancelRequestedAt || status === 'cancelled', `deployment ${number} was cancelled and is ${status}`);
    }
    const active = world.deployments.filter(({ status }) => status === 'active');
    const live = world.live();
    if (world.desiredState === 'deleted') claim(world.isGone && live.length === 0, 'a deleted job is not gone');
    if (world.desiredState === 'stopped') claim(active.length === 0 && live.length === 0, 'a stopped job runs');
    claim(live.length === active.length, `${live.length} attempts live for ${active.length} active deployments`);
    claim(
      live.every(({ phase }) => phase === 'healthy'),
      'an attempt at rest is not healthy',
    );
    claim(active.length === 0 || world.status === 'running', `an active job at rest is ${world.status}`);
  }

  private checkDeployment(deployment: WorldDeployment): void {
    const { id, number, status, attempts, cancelRequestedAt, deadlineAt } = deployment;
    const before = this.statuses.get(id);
    // Two steps may be taken between two checks, never one that is not in the table.
    const isLegal =
      before === undefined ||
      before === status ||
      mayBecome(before, status) ||
      (before === 'queued' && status === 'active') ||
      (before === 'active' && ['superseded', 'stopped'].includes(status));
    claim(isLegal, `deployment ${number}: ${before ?? ''} became ${status}`);
    if (cancelRequestedAt && ['queued', 'deploying'].includes(before ?? '')) this.cancelled.add(id);
    claim(
      !this.cancelled.has(id) || status === 'cancelled' || status === before,
      `deployment ${number}: a cancel was not kept`,
    );
    claim(status !== 'deploying' || deadlineAt !== null, `deployment ${number} is deploying without a deadline`);
    const inProgress = attempts.filter(({ phase }) => ['waiting', 'assigned', 'pulling', 'starting'].includes(phase));
    claim(inProgress.length <= 1, `deployment ${number} has ${inProgress.length} attempts in progress`);
    for (const attempt of attempts) this.checkAttempt(deployment, attempt);
  }

  private checkAttempt(deployment: WorldDeployment, attempt: WorldAttempt): void {
    const numbers = attempt.orders.map((order) => order.number);
    claim(
      numbers.every((number, index) => number === index + 1),
      `orders of ${attempt.id} are numbered ${numbers.join()}`,
    );
    const isUnwanted = isEnded(deployment.status) && ['waiting', 'assigned', 'pulling'].includes(attempt.phase);
    claim(!isUnwanted, `attempt ${attempt.id} is ${attempt.phase} for a deployment that is ${deployment.status}`);
    const times = [
      attempt.createdAt,
      attempt.assignedAt,
      attempt.pullingAt,
      attempt.startingAt,
      attempt.healthyAt,
      attempt.stoppingAt,
    ];
    const known = times.flatMap((time) => (time ? [time.getTime()] : []));
    claim(
      known.every((time, index) => index === 0 || time >= (known[index - 1] ?? 0)),
      `times of ${attempt.id} run backwards`,
    );
  }

  private checkInstances(): void {
    const used = this.world.deployments.flatMap(({ attempts }) =>
      attempts.flatMap(({ instance }) => (instance ? [instance.id] : [])),
    );
    claim(new Set(used).size === used.length, 'an instance is used twice');
  }
}

function claim(isTrue: boolean, message: string): void {
  if (!isTrue) throw new Error(message);
}
