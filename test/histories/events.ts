import fc from 'fast-check';
import { CLUSTER_TAG, LAUNCH_TAG } from '../../src/aws/ec2-types.ts';
import { CLUSTER } from './cloud.ts';
import type { RunFault, Weather } from './weather.ts';
import { World } from './world.ts';

/** One thing that happens: a user sends a request, time passes, the weather turns, or something breaks. */
export type Event =
  | { readonly do: 'deploy'; readonly job: number; readonly variant: number }
  | { readonly do: 'cancel' | 'stop' | 'delete' | 'start' | 'restart' | 'rollback'; readonly job: number }
  | { readonly do: 'run'; readonly seconds: number }
  | { readonly do: 'weather'; readonly change: Partial<Weather> }
  | { readonly do: 'calls'; readonly faults: readonly RunFault[] }
  | { readonly do: 'crash'; readonly commits: number; readonly when: 'before' | 'after' }
  | { readonly do: 'away'; readonly seconds: number }
  | { readonly do: 'warm'; readonly spares: number }
  | { readonly do: 'hurt'; readonly how: Hurt; readonly pick: number };

type Hurt = (typeof HURTS)[number];
const HURTS = [
  'terminate',
  'stop',
  'spot',
  'freeze',
  'cut',
  'cut-all',
  'mend',
  'exit',
  'docker-stop',
  'unhealthy',
  'healthy',
  'stranger',
  'foreign',
] as const;

const job = fc.nat(1);
const seconds = fc.constantFrom(0.05, 0.4, 1, 3, 6, 11, 30, 31, 60, 100, 130, 400, 1000);

const WEATHERS: readonly Partial<Weather>[] = [
  {},
  { visibilityMs: 30_000 },
  { visibilityMs: 100_000 },
  { lagMs: 20_000 },
  { lagMs: 60_000 },
  { launches: 'end-at-once' },
  { launches: 'end-at-once' },
  { launches: 'live' },
  { describes: 'failing' },
  { describes: 'answered' },
  { terminates: 'failing' },
  { terminates: 'answer-lost' },
  { terminates: 'answered' },
  { answerMs: 4_000 },
  { bootMs: 85_000 },
  { bootMs: 200_000 },
  { bootMs: Infinity },
  { bootMs: 20_000 },
  { agentMs: 4_000 },
  { agentMs: 2_000_000 },
  { agentMs: 50 },
  { agents: 'take-nothing' },
  { agents: 'take-nothing' },
  { agents: 'obey' },
  { spot: 'noticed-at-once' },
  { spot: 'noticed-at-once' },
  { spot: 'kept' },
  { docker: 'refuses' },
  { docker: 'absent' },
  { docker: 'no-image' },
  { docker: 'works' },
  { container: 'exits-at-once' },
  { container: 'exits-after-20s' },
  { container: 'unhealthy' },
  { container: 'runs' },
  { reachMs: 10_000 },
  { reachMs: 70_000 },
  { reachMs: 20 },
  { losesAnswers: true },
  { lateMs: 700 },
  { lateMs: 20_000 },
  { lateMs: 0 },
];

const RUN_FAULTS: readonly RunFault[] = [
  'answered',
  'answer-lost',
  'answer-lost',
  'late',
  'error-without-effect',
  'throttled',
  'capacity',
  'quota',
  'address',
  'account',
  'permission',
  'partial',
];

export const histories: fc.Arbitrary<Event[]> = fc.array(
  fc.oneof(
    { weight: 5, arbitrary: fc.record({ do: fc.constant('deploy' as const), job, variant: fc.nat(5) }) },
    {
      weight: 4,
      arbitrary: fc.record({ do: fc.constantFrom('cancel', 'stop', 'delete', 'start', 'restart', 'rollback'), job }),
    },
    { weight: 10, arbitrary: fc.record({ do: fc.constant('run' as const), seconds }) },
    { weight: 3, arbitrary: fc.record({ do: fc.constant('weather' as const), change: fc.constantFrom(...WEATHERS) }) },
    {
      weight: 2,
      arbitrary: fc.record({
        do: fc.constant('calls' as const),
        faults: fc.array(fc.constantFrom(...RUN_FAULTS), { minLength: 1, maxLength: 6 }),
      }),
    },
    {
      weight: 3,
      arbitrary: fc.record({
        do: fc.constant('crash' as const),
        commits: fc.nat(6),
        when: fc.constantFrom('before', 'after'),
      }),
    },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('away' as const), seconds }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('warm' as const), spares: fc.nat(2) }) },
    {
      weight: 5,
      arbitrary: fc.record({ do: fc.constant('hurt' as const), how: fc.constantFrom(...HURTS), pick: fc.nat(9) }),
    },
  ),
  { minLength: 4, maxLength: 40 },
);

export function play(world: World, event: Event): void {
  switch (event.do) {
    case 'deploy':
      return world.deploy(`job${event.job}`, event.variant);
    case 'cancel':
      return world.cancel(`job${event.job}`);
    case 'stop':
      return world.desire(`job${event.job}`, 'stopped');
    case 'delete':
      return world.desire(`job${event.job}`, 'deleted');
    case 'start':
    case 'restart':
    case 'rollback':
      return world.redeploy(`job${event.job}`, event.do);
    case 'run':
      return world.run(event.seconds * 1000);
    case 'weather':
      world.weather = { ...world.weather, ...event.change };
      return;
    case 'calls':
      world.weather.runs.push(...event.faults);
      return;
    case 'crash':
      return world.crashAt(event.commits, event.when);
    case 'away':
      world.leave();
      world.run(event.seconds * 1000);
      return world.comeBack();
    case 'warm':
      return world.keepWarm(event.spares);
    case 'hurt':
      return hurt(world, event.how, event.pick);
  }
}

function hurt(world: World, how: Hurt, pick: number): void {
  if (how === 'mend') return world.mendAll();
  if (how === 'cut-all') return [...world.agents.keys()].forEach((id) => world.cut(id));
  if (how === 'stranger') return void world.cloud.addStranger({ [CLUSTER_TAG]: CLUSTER, [LAUNCH_TAG]: 'lost' });
  if (how === 'foreign') return void world.cloud.addStranger({ [CLUSTER_TAG]: 'theirs' });
  const alive = [...world.cloud.instances.keys()].filter((id) => world.cloud.isAlive(id));
  const id = alive[pick % Math.max(1, alive.length)];
  if (id === undefined) return;
  const agent = world.agents.get(id);
  if (how === 'terminate') world.cloud.terminate(id);
  if (how === 'stop') world.cloud.stop(id);
  if (how === 'freeze') world.freeze(id);
  if (how === 'cut') world.cut(id);
  if (how === 'spot') {
    agent?.noticeSpot();
    world.timeline.after(120_000, () => world.cloud.terminate(id));
  }
  if (how === 'exit' || how === 'docker-stop') agent?.exit(how === 'docker-stop');
  if (how === 'unhealthy' || how === 'healthy') agent?.turn(how);
}
