import { describe, it } from '@jest/globals';
import fc from 'fast-check';
import { histories, play } from './events.ts';
import { fairWeather } from './weather.ts';
import { World } from './world.ts';

// Random histories of scheduler and fleet together against a model of EC2 and of agents. `npm run test:histories` plays
// 100,000; HISTORIES and SEED come from the environment, and a failure prints the seed that replays it;
// SHRINK=0 leaves it as long as it was found.
const HISTORIES = Number(process.env['HISTORIES'] ?? 1_000);
const SEED = process.env['SEED'] === undefined ? {} : { seed: Number(process.env['SEED']) };

/** Longest that anything may take once all is well: a pull (30 min), a wait for capacity (10 min), the longest backoffs. */
const REST_MINUTES = 150;
/** One every two seconds while a job is being deleted or something boots, fewer else. */
const MOST_PASSES_TO_REST = 6_000;
const CALM_MINUTES = 4;
const SPOT_MINUTES = 2;

describe('scheduler and fleet over random histories', () => {
  it(`are safe at every step and come to rest (${HISTORIES} histories)`, () => {
    fc.assert(
      fc.property(histories, (history) => {
        const world = new World();
        for (const event of history) play(world, event);
        comeToRest(world);
      }),
      { numRuns: HISTORIES, endOnFailure: process.env['SHRINK'] === '0', ...SEED },
    );
  }, 3_600_000);
});

/** All misbehaviour ends; then everything settles in bounded time and passes, and stays so. */
function comeToRest(world: World): void {
  world.comeBack();
  world.mendAll();
  for (const instance of world.cloud.instances.values()) if (instance.isFrozen) world.freeze(instance.id);
  world.keepWarm(0);
  world.weather = fairWeather();
  // What was announced before still comes: EC2 takes a spot instance two minutes after its notice.
  world.run(SPOT_MINUTES * 60_000);
  const passes = world.passes;
  let unrest: string | null = 'not looked at';
  for (let minute = 0; unrest !== null; minute += 1) {
    if (minute > REST_MINUTES) throw new Error(`no rest after ${REST_MINUTES} minutes: ${unrest}`);
    world.run(60_000);
    unrest = world.guard.restlessness();
  }
  if (world.passes - passes > MOST_PASSES_TO_REST) throw new Error(`${world.passes - passes} passes to come to rest`);

  const launches = world.rows.launches.size;
  const attempts = world.rows.attempts.size;
  world.run(CALM_MINUTES * 60_000);
  unrest = world.guard.restlessness();
  if (unrest !== null) throw new Error(`it did not stay at rest: ${unrest}`);
  if (world.rows.launches.size !== launches) throw new Error('launches go on at rest');
  if (world.rows.attempts.size !== attempts) throw new Error('attempts go on at rest');
}
