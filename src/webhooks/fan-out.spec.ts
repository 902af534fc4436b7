import { describe, expect, it } from '@jest/globals';
import { EventLog } from '../../test/support/event-log.js';
import type { Database } from '../database/database.js';
import { FanOut } from './fan-out.js';

type Delivery = { readonly position: number; readonly isForAdmins: boolean; readonly body: unknown };

/** Events, the cursor of webhooks in them, and what is made of both. */
class World {
  readonly log = new EventLog();
  cursor = 0;
  /** Another process has the cursor. */
  isTaken = false;
  readonly made: Delivery[] = [];
  unqueued = 0;
  readonly queued: number[] = [];
  transactions = 0;
  /** Statements that write, rows or none. */
  writes = 0;

  run(statement: { readonly name: string }, values: readonly unknown[]): Promise<unknown[]> {
    const { name } = statement;
    if (name === 'webhooks-cursor') return Promise.resolve(this.isTaken ? [] : [{ position: this.cursor }]);
    if (name === 'webhooks-move' || name === 'webhooks-deliver') this.writes += 1;
    if (name === 'webhooks-move') this.cursor = values[0] as number;
    if (name === 'webhooks-deliver') this.#deliver(values as never);
    if (name === 'webhooks-queue') {
      const count = Math.min(this.unqueued, values[0] as number);
      this.unqueued -= count;
      return Promise.resolve(Array.from({ length: count }, (_, n) => ({ id: String(n), webhookId: 'w' })));
    }
    return name.startsWith('events-') ? this.log.run(statement, values as never) : Promise.resolve([]);
  }

  #deliver([positions, at, types, jobs, bodies, areForAdmins]: unknown[][]): void {
    positions!.forEach((position, n) => {
      const body = JSON.parse(bodies![n] as string) as object;
      expect(body).toMatchObject({ position, at: at![n], type: types![n], job: jobs![n] });
      this.made.push({ position: position as number, isForAdmins: areForAdmins![n] as boolean, body });
    });
    this.unqueued += positions!.length;
  }

  readonly fanOut = new FanOut(
    {
      transaction: (work: (transaction: World) => unknown) => {
        this.transactions += 1;
        if (this.transactions > 100) throw new Error('no end');
        return work(this);
      },
    } as unknown as Database,
    { add: (_transaction, deliveries) => Promise.resolve(void this.queued.push(deliveries.length)) },
  );
}

describe('events for webhooks', () => {
  it.each([
    [0, []],
    [1, [1]],
    [200, [200]],
    [999, [999]],
    [1_000, [1_000]],
    [2_345, [1_000, 1_000, 345]],
  ])('are made deliveries of and queued, all %i that there are, once each and in order', async (count, queued) => {
    const world = new World();
    world.log.append(count, { job: 'web' });
    expect(await world.fanOut.run()).toBe(count);
    expect(world.made.map(({ position }) => position)).toEqual(Array.from({ length: count }, (_, n) => n + 1));
    expect([world.cursor, world.queued]).toEqual([count, queued]);
    // And then nothing is, not even where the cursor stands already.
    const { writes } = world;
    expect(await world.fanOut.run()).toBe(0);
    expect([world.made.length, world.queued, world.writes]).toEqual([count, queued, writes]);
  });

  it('are left to another process that is at them; what is made already is queued', async () => {
    const world = new World();
    world.log.append(3);
    world.isTaken = true;
    world.unqueued = 2;
    expect(await world.fanOut.run()).toBe(2);
    expect([world.made, world.cursor]).toEqual([[], 0]);
  });

  it('are passed over where they are deleted before', async () => {
    const world = new World();
    world.log.append(5);
    world.log.deleteThrough(5);
    expect(await world.fanOut.run()).toBe(0);
    expect([world.made, world.cursor, world.writes]).toEqual([[], 5, 1]);
  });

  it('that only admins may read are marked so', async () => {
    const world = new World();
    for (const type of ['job.created', 'token.created', 'webhook.disabled', 'instance.gone'])
      world.log.append(1, { type });
    await world.fanOut.run();
    expect(world.made.map(({ isForAdmins }) => isForAdmins)).toEqual([false, true, true, false]);
  });
});
