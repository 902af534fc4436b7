import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { type Result, ResultsService } from '../../src/agent/results.service.js';
import { insertAgent, insertOrder } from '../support/agents.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';

const PROBE = {
  kind: 'probe',
  url: 'http://127.0.0.1/',
  intervalSeconds: 5,
  timeoutSeconds: 3,
  retries: 3,
  startPeriodSeconds: 0,
} as const;

describe('a result', () => {
  let test: TestDatabase;
  let service: ResultsService;
  let agent: Awaited<ReturnType<typeof insertAgent>>;

  beforeAll(async () => {
    test = await createTestDatabase();
    service = new ResultsService(test.database, test.signals);
    agent = await insertAgent(test.database);
    await insertOrder(test.database, agent, 1);
    await insertOrder(test.database, agent, 2, PROBE);
    await insertOrder(test.database, agent, 3);
    await insertOrder(test.database, agent, 4);
    await insertOrder(test.database, agent, 5, PROBE);
  });
  afterAll(() => test.close());

  it('is kept raw, and makes the job due', async () => {
    await settle();
    const woken = new Promise((done) => test.signals.on('jobs', done));
    const body = Buffer.from([0, 1, 2, 255, 10, 13]);
    await service.store(result(1, { status: 304, error: 'curl 18', body }));
    await woken;
    expect(await readOrder(1)).toMatchObject({
      taken_at: expect.any(Date),
      answered_at: expect.any(Date),
      result_status: 304,
      result_error: 'curl 18',
      result_body: body,
      probe_state: null,
    });
    expect(await isDue()).toBe(true);
  });

  it('about a container is kept without its environment; anything else is kept raw', async () => {
    const answer = { Id: 'c', Config: { Env: ['A=hush'], Image: 'web:1' } };
    const body = Buffer.from(JSON.stringify(answer));
    await insertOrder(test.database, agent, 6);
    await insertOrder(test.database, agent, 7);
    await test.database.query(`UPDATE orders SET purpose = 'inspect-container' WHERE number = 6`);
    await service.store(result(6, { body }));
    await service.store(result(7, { body }));
    const [described, other] = await Promise.all(
      [6, 7].map(async (n) => (await readOrder(n))['result_body'] as Buffer),
    );
    expect(JSON.parse(described!.toString())).toEqual({ Id: 'c', Config: { Image: 'web:1' } });
    expect(other).toEqual(body);
  });

  it('is the first one for good', async () => {
    const before = await readOrder(1);
    await settle();
    await service.store(result(1, { status: 500, body: Buffer.from('late'), probeState: 'healthy' }));
    expect(await readOrder(1)).toEqual(before);
    expect(await isDue()).toBe(false);
  });

  it('of a probe is replaced when the state changes, and only then', async () => {
    await service.store(result(2, { probeState: 'unhealthy', body: Buffer.from('HTTP 500') }));
    const first = await readOrder(2);
    await settle();
    await service.store(result(2, { probeState: 'unhealthy', body: Buffer.from('HTTP 502') }));
    expect(await readOrder(2)).toEqual(first);
    expect(await isDue()).toBe(false);
    await service.store(result(2, { probeState: 'healthy', body: Buffer.from('HTTP 200') }));
    expect(await readOrder(2)).toMatchObject({ probe_state: 'healthy', result_body: Buffer.from('HTTP 200') });
    expect(await isDue()).toBe(true);
  });

  it('of a probe the agent could not make sense of has no state, and does not undo one', async () => {
    await service.store(result(5, { status: 0, error: 'malformed probe' }));
    expect(await readOrder(5)).toMatchObject({ result_error: 'malformed probe', probe_state: null });
    await service.store(result(2, { status: 0, error: 'malformed probe' }));
    expect(await readOrder(2)).toMatchObject({ probe_state: 'healthy' });
  });

  it.each([
    ['an order there is not', () => result(99, {})],
    ['another instance’s order', () => ({ ...result(3, {}), instanceId: 'i-00000000000000000' })],
  ])('of %s is refused', async (_what, wrong) => {
    await expect(service.store(wrong())).rejects.toMatchObject({ code: 'order-not-found' });
    expect(await readOrder(3)).toMatchObject({ answered_at: null });
  });

  it('waits for the job’s row before it touches the order', async () => {
    let stored: Promise<void> | undefined;
    await test.database.transaction(async (transaction) => {
      await transaction.query(`SELECT FROM jobs WHERE id = $1 FOR NO KEY UPDATE`, [agent.jobId]);
      stored = service.store(result(3, {}));
      await waitForLock();
      // A pass may still lock the order: nobody else holds it.
      await transaction.query(`SELECT FROM orders WHERE instance_id = $1 FOR UPDATE NOWAIT`, [agent.instanceId]);
    });
    await stored;
    expect(await readOrder(3)).toMatchObject({ answered_at: expect.any(Date) });
  });

  it('that comes twice at once is stored once', async () => {
    const bodies = ['a', 'b', 'c', 'd'].map((text) => Buffer.from(text));
    await Promise.all(bodies.map((body) => service.store(result(4, { body }))));
    const before = await readOrder(4);
    await Promise.all(bodies.map((body) => service.store(result(4, { body }))));
    expect(await readOrder(4)).toEqual(before);
  });

  function result(number: number, fields: Partial<Result>): Result {
    return {
      instanceId: agent.instanceId,
      number,
      status: 200,
      error: null,
      probeState: null,
      body: Buffer.alloc(0),
      ...fields,
    };
  }

  async function readOrder(number: number): Promise<Record<string, unknown>> {
    const [row] = await test.database.query(`SELECT * FROM orders WHERE instance_id = $1 AND number = $2`, [
      agent.instanceId,
      number,
    ]);
    return row!;
  }

  /** As a pass leaves a job nothing can happen to by itself. */
  async function settle(): Promise<void> {
    await test.database.query(`UPDATE jobs SET next_pass_at = NULL`);
  }

  async function isDue(): Promise<boolean> {
    const rows = await test.database.query(`SELECT FROM jobs WHERE next_pass_at <= clock_timestamp()`);
    return rows.length === 1;
  }

  async function waitForLock(): Promise<void> {
    for (;;) {
      const waiting = await test.database.query(
        `SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`,
      );
      if (waiting.length > 0) return;
    }
  }
});
