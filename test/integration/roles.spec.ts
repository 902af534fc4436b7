import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { loopRuns } from '../../src/process/loop.ts';
import { startApi } from '../support/api.ts';
import { type FleetWorld, startFleetWorld } from '../support/fleet-world.ts';
import { until } from '../../local/until.ts';

describe('a process', () => {
  let world: FleetWorld;
  beforeAll(async () => {
    world = await startFleetWorld();
  });
  afterAll(() => world.close());

  /** Names of the loops that have run once all have that begin with the process. */
  async function loopsOf(role: string): Promise<string[]> {
    const names = new Set<string>();
    const leave = loopRuns.onEnd(({ facts: { loop } }) => names.add(loop));
    const api = await startApi({ databaseUrl: world.test.url, env: { ROLE: role } });
    await until(() => names.has('events'), 10_000);
    // Ends what is under way, and so has the name of each that began.
    await api.close();
    leave();
    return [...names].toSorted();
  }

  it('with ROLE=api runs no loop but the one that gives its own events their positions', async () => {
    expect(await loopsOf('api')).toEqual(['events']);
  });

  it('with ROLE=scheduler runs those of jobs, logs, webhooks and retention', async () => {
    expect(await loopsOf('scheduler')).toEqual(
      expect.arrayContaining(['events', 'job-pass', 'retention', 'retention of logs', 'sealing of logs']),
    );
  });
});
