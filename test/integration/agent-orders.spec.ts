import { EventEmitter, once } from 'node:events';
import { setImmediate as turn } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { Agents } from '../../src/agent/agents.ts';
import { findOrders } from '../../src/agent/order-statements.ts';
import { OrderPolls } from '../../src/agent/order-polls.ts';
import { Shutdown } from '../../src/process/shutdown.ts';
import { Signals } from '../../src/database/signals.ts';
import { createRandom } from '../../local/cloud/random.ts';
import { insertAgent, insertOrder, makeHex, makeInstanceId } from '../support/agents.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import type { Statement } from '../../src/database/statement.ts';

let test: TestDatabase;
beforeAll(async () => {
  test = await createTestDatabase();
});
afterAll(() => test.close());

describe('polls for orders', () => {
  /** Far beyond a test: what wakes a poll is then known. */
  const NEVER_MS = 3_600_000;
  let agent: Awaited<ReturnType<typeof insertAgent>>;
  let polls: OrderPolls;
  /** Names of those that ended. */
  let statements: string[];
  const looks = new EventEmitter();

  beforeEach(async () => {
    agent = await insertAgent(test.database);
    polls = open({ fallbackEveryMs: NEVER_MS });
  });
  afterEach(() => polls.close());

  it('hands out the lowest order the agent does not have', async () => {
    await insertOrder(test.database, agent, 1);
    await insertOrder(test.database, agent, 2);
    expect((await poll(0))?.number).toBe(1);
    expect((await poll(1))?.number).toBe(2);
  });

  it('hands an order out again until the agent has it', async () => {
    await insertOrder(test.database, agent, 1);
    expect((await poll(0))?.number).toBe(1);
    expect((await poll(0))?.number).toBe(1);
  });

  it('hands out nothing of an attempt that has ended meanwhile', async () => {
    await insertOrder(test.database, agent, 1);
    await test.database.query(`UPDATE attempts SET phase = 'ended' WHERE id = $1`, [agent.attemptId]);
    const parked = polls.poll(agent.instanceId, 0);
    await quiet();
    polls.close();
    expect(await parked.answer).toBeUndefined();
  });

  it('wakes a parked poll by a signal, from another process too', async () => {
    const other = new Signals(test.database, test.url);
    await other.start();
    for (const [index, signals] of [test.signals, other].entries()) {
      const parked = polls.poll(agent.instanceId, index);
      await quiet();
      await insertOrder(test.database, agent, index + 1);
      signals.ordersWritten([agent.instanceId]);
      expect((await parked.answer)?.number).toBe(index + 1);
    }
    await other.stop();
  });

  it('wakes every poll by a signal without keys', async () => {
    const second = await insertAgent(test.database);
    const both = [agent, second].map(({ instanceId }) => polls.poll(instanceId, 0));
    await quiet();
    await insertOrder(test.database, agent, 1);
    await insertOrder(test.database, second, 1);
    test.signals.ordersWritten();
    expect((await Promise.all(both.map(({ answer }) => answer))).map((order) => order?.number)).toEqual([1, 1]);
  });

  it('finds by its net what no signal told', async () => {
    polls.close();
    polls = open({ fallbackEveryMs: 20 });
    const parked = polls.poll(agent.instanceId, 0);
    await insertOrder(test.database, agent, 1);
    expect((await parked.answer)?.number).toBe(1);
  });

  it('costs no statement while there is nothing to do', async () => {
    let begun = 0;
    polls.close();
    polls = open({ fallbackEveryMs: NEVER_MS, during: () => (begun += 1) });
    const parked = polls.poll(agent.instanceId, 0);
    await quiet();
    expect([begun, statements]).toEqual([1, ['agent-find-orders']]);
    const again = polls.poll(agent.instanceId, 0);
    expect(await parked.answer).toBeUndefined();
    // A look would have begun.
    await turn();
    await turn();
    expect(begun).toBe(1);
    polls.leave(again);
  });

  it('looks again after a signal that came while no poll was parked', async () => {
    const parked = polls.poll(agent.instanceId, 0);
    await quiet();
    polls.leave(parked);
    const heard = new Promise((done) => test.signals.on('orders', done));
    await insertOrder(test.database, agent, 1);
    test.signals.ordersWritten([agent.instanceId]);
    await heard;
    expect((await poll(0))?.number).toBe(1);
  });

  it('looks again after LISTEN was away', async () => {
    const parked = polls.poll(agent.instanceId, 0);
    await quiet();
    await insertOrder(test.database, agent, 1);
    await test.database.query(
      `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
       WHERE application_name = 'scheduler-api listen' AND datname = current_database()`,
    );
    expect((await parked.answer)?.number).toBe(1);
  });

  it('looks for a thousand polls in one statement', async () => {
    for (let n = 0; n < 1_001; n += 1) polls.poll(makeInstanceId(), 0);
    await quiet();
    while (statements.length < 2) await once(looks, 'look');
    await turn();
    expect(statements).toEqual(['agent-find-orders', 'agent-find-orders']);
    expect(polls.parkedCount).toBe(1_001);
  });

  it('looks at once for a poll that came while it was looking', async () => {
    const second = await insertAgent(test.database);
    await insertOrder(test.database, second, 1);
    let late: Promise<unknown> | undefined;
    polls.close();
    polls = open({
      fallbackEveryMs: NEVER_MS,
      during: () => (late ??= polls.poll(second.instanceId, 0).answer),
    });
    const first = polls.poll(agent.instanceId, 0);
    await quiet();
    expect(await late).toMatchObject({ number: 1 });
    polls.leave(first);
  });

  it('marks what the agent has as taken, and makes the job due', async () => {
    await insertOrder(test.database, agent, 1);
    await insertOrder(test.database, agent, 2);
    await insertOrder(test.database, agent, 3);
    await test.database.query(`UPDATE jobs SET next_pass_at = NULL`);
    const woken = new Promise((done) => test.signals.on('jobs', done));
    expect((await poll(2))?.number).toBe(3);
    await woken;
    expect(
      await test.database.query(
        `SELECT number, taken_at IS NOT NULL AS is_taken FROM orders WHERE instance_id = $1 ORDER BY number`,
        [agent.instanceId],
      ),
    ).toEqual([
      { number: 1, is_taken: true },
      { number: 2, is_taken: true },
      { number: 3, is_taken: false },
    ]);
    expect(await test.database.query(`SELECT id FROM jobs WHERE next_pass_at <= clock_timestamp()`)).toEqual([
      { id: agent.jobId },
    ]);
  });

  it('ends an older poll of the same instance', async () => {
    const older = polls.poll(agent.instanceId, 0);
    const newer = polls.poll(agent.instanceId, 0);
    expect(await older.answer).toBeUndefined();
    await insertOrder(test.database, agent, 1);
    test.signals.ordersWritten([agent.instanceId]);
    expect((await newer.answer)?.number).toBe(1);
  });

  it('lets nobody end the poll that came after his own', () => {
    const older = polls.poll(agent.instanceId, 0);
    polls.poll(agent.instanceId, 0);
    polls.leave(older);
    expect(polls.parkedCount).toBe(1);
  });

  it('ends a poll when its time is over', async () => {
    polls.close();
    polls = open({ fallbackEveryMs: NEVER_MS, parkMs: 100 });
    expect(await poll(0)).toBeUndefined();
    expect(polls.parkedCount).toBe(0);
  });

  it('answers everybody when it closes, and refuses whoever comes later', async () => {
    const parked = polls.poll(agent.instanceId, 0);
    polls.close();
    expect(await parked.answer).toBeUndefined();
    expect(() => polls.poll(agent.instanceId, 0)).toThrow('Send the request again.');
  });

  it('refuses polls it cannot look up', async () => {
    await test.database.query(`ALTER TABLE orders RENAME TO away`);
    const refused = polls.poll(agent.instanceId, 0).answer;
    await expect(refused).rejects.toThrow('relation "orders" does not exist');
    expect(polls.parkedCount).toBe(0);
    await test.database.query(`ALTER TABLE away RENAME TO orders`);
    await insertOrder(test.database, agent, 1);
    expect((await poll(0))?.number).toBe(1);
  });

  it('refuses a poll for an order it cannot render, and goes on', async () => {
    const second = await insertAgent(test.database);
    await insertOrder(test.database, agent, 1, { kind: 'dead-man', minutes: -1 });
    await insertOrder(test.database, second, 1);
    const [bad, good] = [polls.poll(agent.instanceId, 0), polls.poll(second.instanceId, 0)];
    await expect(bad.answer).rejects.toThrow('minutes: must be a whole number');
    expect((await good.answer)?.number).toBe(1);
    expect(polls.parkedCount).toBe(0);
  });

  async function poll(after: number) {
    return await polls.poll(agent.instanceId, after).answer;
  }

  /** Until the first look has ended, and what it found is known. */
  async function quiet(): Promise<void> {
    while (statements.length === 0) await once(looks, 'look');
    await turn();
  }

  /** @param during called while each statement is under way */
  function open({
    during,
    ...options
  }: {
    fallbackEveryMs: number;
    parkMs?: number;
    during?: () => unknown;
  }): OrderPolls {
    statements = [];
    const database = Object.create(test.database, {
      run: {
        value: async (statement: Statement, values: readonly unknown[]) => {
          during?.();
          const rows = await test.database.run(statement, values);
          statements.push(statement.name);
          looks.emit('look');
          return rows;
        },
      },
    }) as typeof test.database;
    const opened = new OrderPolls(database, test.signals, new Shutdown(), undefined, options);
    opened.onApplicationBootstrap();
    return opened;
  }
});

describe('what is found for positions of agents', () => {
  it('is the next order of a living attempt, and whether one that the agent has is not marked as taken', async () => {
    const random = createRandom(1);
    const agents = await Promise.all([1, 2, 3].map(() => insertAgent(test.database)));
    const orders = agents.flatMap((agent) => [1, 2, 3, 4].map((number) => ({ agent, number, isTaken: false })));
    for (const { agent, number } of orders) await insertOrder(test.database, agent, number);
    for (let round = 0; round < 60; round += 1) {
      for (const order of orders) order.isTaken = random.fraction() < 0.7;
      const ended = agents.filter(() => random.fraction() < 0.2);
      const taken = orders.map(({ isTaken }) => isTaken);
      await test.database.query(
        `UPDATE orders SET taken_at = CASE WHEN given.taken THEN clock_timestamp() END
         FROM unnest($1::text[], $2::int[], $3::bool[]) AS given (id, number, taken)
         WHERE orders.instance_id = given.id AND orders.number = given.number`,
        [orders.map(({ agent }) => agent.instanceId), orders.map(({ number }) => number), taken],
      );
      await test.database.query(
        `UPDATE attempts SET phase = CASE WHEN id = ANY ($1::uuid[]) THEN 'ended' ELSE 'healthy' END`,
        [ended.map(({ attemptId }) => attemptId)],
      );
      const positions = agents.map(({ instanceId }) => ({ instanceId, after: random.between(0, 4) })).slice(round % 3);
      const expected = positions.flatMap(({ instanceId, after }) => {
        const own = orders.filter(({ agent }) => agent.instanceId === instanceId);
        const isEnded = ended.some((agent) => agent.instanceId === instanceId);
        const next = isEnded ? undefined : own.find(({ number }) => number > after)?.number;
        const hasUntaken = own.some(({ number, isTaken }) => number <= after && !isTaken);
        return next === undefined && !hasUntaken ? [] : [[instanceId, next, hasUntaken]];
      });
      const found = [...(await findOrders(test.database, positions))];
      expect(found.map(([id, { order, hasUntaken }]) => [id, order?.number, hasUntaken]).toSorted()).toEqual(
        expected.toSorted(),
      );
    }
  });
});

describe('agents', () => {
  let now: number;
  let agents: Agents;
  beforeEach(() => {
    now = 1_000_000;
    agents = new Agents(test.database, () => now);
  });

  it('are known by their token', async () => {
    const { instanceId, token } = await insertAgent(test.database);
    expect(await agents.identify(token)).toEqual({ kind: 'agent', instanceId });
    expect(await agents.identify(makeHex())).toEqual({ kind: 'unknown' });
  });

  it('are looked up together', async () => {
    const all = await Promise.all(Array.from({ length: 5 }, () => insertAgent(test.database)));
    const tokens = [...all.map(({ token }) => token), all[0]!.token, makeHex()];
    const found = await Promise.all(tokens.map((token) => agents.identify(token)));
    expect(found.map((sender) => ('instanceId' in sender ? sender.instanceId : undefined))).toEqual([
      ...all.map(({ instanceId }) => instanceId),
      all[0]!.instanceId,
      undefined,
    ]);
  });

  it('that register elsewhere are known after a second', async () => {
    const { instanceId, token } = await insertAgent(test.database);
    await test.database.query(`UPDATE instances SET token_hash = NULL WHERE id = $1`, [instanceId]);
    expect(await agents.identify(token)).toEqual({ kind: 'unknown' });
    await test.database.query(`UPDATE instances SET token_hash = sha256($2::bytea) WHERE id = $1`, [
      instanceId,
      Buffer.from(token),
    ]);
    now += 999;
    expect(await agents.identify(token)).toEqual({ kind: 'unknown' });
    now += 1;
    expect(await agents.identify(token)).toEqual({ kind: 'agent', instanceId });
  });

  it.each([
    ['at the next flush', async () => await agents.flush()],
    ['after a minute', () => Promise.resolve((now += 60_001))],
  ])('that were retired meanwhile are noticed %s', async (_when, happens) => {
    const { instanceId, token } = await insertAgent(test.database);
    await agents.identify(token);
    await test.database.query(`UPDATE instances SET retire_reason = 'idle' WHERE id = $1`, [instanceId]);
    expect(await agents.identify(token)).toEqual({ kind: 'agent', instanceId });
    await happens();
    expect(await agents.identify(token)).toEqual({ kind: 'retired', instanceId });
  });

  it('are written down as seen when they were, not when it is written', async () => {
    const { instanceId, token } = await insertAgent(test.database);
    await agents.identify(token);
    now += 7_000;
    await agents.flush();
    const first = await readAge(instanceId);
    expect(first).toBeGreaterThanOrEqual(7);
    expect(first).toBeLessThan(60);
    // Nothing new: nothing written.
    now += 7_000;
    await agents.flush();
    expect(await readAge(instanceId)).toBeGreaterThanOrEqual(first);
  });

  it('are not written while the fleet holds them, but later', async () => {
    const { instanceId, token } = await insertAgent(test.database);
    await agents.identify(token);
    await test.database.transaction(async (transaction) => {
      await transaction.query(`SELECT FROM instances WHERE id = $1 FOR UPDATE`, [instanceId]);
      await agents.flush();
    });
    expect(await readAge(instanceId)).toBeNaN();
    await agents.flush();
    expect(await readAge(instanceId)).toBeGreaterThanOrEqual(0);
  });

  it('are written at the end', async () => {
    const { instanceId, token } = await insertAgent(test.database);
    await agents.identify(token);
    await agents.beforeApplicationShutdown();
    expect(await readAge(instanceId)).toBeGreaterThanOrEqual(0);
  });

  async function readAge(instanceId: string): Promise<number> {
    const [row] = await test.database.query<{ age: number | null }>(
      `SELECT extract(epoch FROM clock_timestamp() - last_seen_at)::float AS age FROM instances WHERE id = $1`,
      [instanceId],
    );
    return row?.age ?? Number.NaN;
  }
});
