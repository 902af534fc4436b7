import { describe, expect, it } from '@jest/globals';
import type { Database, Queryable } from '../database/database.js';
import { Sequencer } from './sequencer.js';

/** Events that wait for a position, and what readers are told. */
function setUp(waiting: number) {
  const told: number[] = [];
  const state = { waiting, isLocked: false };
  const run = ({ name }: { readonly name: string }, [most]: readonly unknown[]): Promise<unknown[]> => {
    if (name === 'events-unsequenced') return Promise.resolve(state.waiting > 0 ? [{}] : []);
    if (name === 'events-lock') state.isLocked = true;
    if (name !== 'events-sequence') return Promise.resolve([]);
    if (!state.isLocked) throw new Error('its turn has not come');
    const count = Math.min(state.waiting, most as number);
    state.waiting -= count;
    return Promise.resolve([{ count, notified: '1' }]);
  };
  const database = {
    run,
    transaction: async (work: (transaction: Queryable) => Promise<unknown>) => {
      const result = await work({ run } as unknown as Queryable);
      state.isLocked = false;
      return result;
    },
  };
  const signals = {
    notification: () => ['channel', 'text'] as const,
    // Readers who are told look at what is committed by then.
    eventsNumbered: () => void told.push(state.isLocked ? NaN : state.waiting),
  };
  return { sequencer: new Sequencer(database as unknown as Database, signals), state, told };
}

describe('the positions of events', () => {
  it.each([
    [0, []],
    [1, [0]],
    [999, [0]],
    [1_000, [0]],
    [1_001, [1, 0]],
    [2_500, [1_500, 500, 0]],
  ])('are given to all %i that wait, in batches that readers are told of once each is committed', async (all, left) => {
    const { sequencer, state, told } = setUp(all);
    expect(await sequencer.hasWork()).toBe(all > 0);
    expect(await sequencer.run()).toBe(all);
    expect([state.waiting, told]).toEqual([0, left]);
    expect(await sequencer.hasWork()).toBe(false);
  });
});
