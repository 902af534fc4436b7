import { Readable } from 'node:stream';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { Logger } from '@nestjs/common';
import { AgentLimits } from '../../src/agent/agent-limits.ts';
import { type Result, ResultsService } from '../../src/agent/results.service.ts';
import type { Problem } from '../../src/http/problem.ts';
import { MOST_ANSWER_BYTES } from '../../src/docker/order-answer.ts';
import { insertAgent, insertOrder } from '../support/agents.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import { blockedOnLock } from '../support/blocked-on-lock.ts';

const PROBE = {
  kind: 'probe',
  url: 'http://127.0.0.1/',
  intervalSeconds: 5,
  timeoutSeconds: 3,
  retries: 3,
  startPeriodSeconds: 0,
} as const;

const ignore = (): void => undefined;

describe('a result', () => {
  let test: TestDatabase;
  let service: ResultsService;
  let agent: Awaited<ReturnType<typeof insertAgent>>;

  beforeAll(async () => {
    test = await createTestDatabase();
    service = new ResultsService(test.database, test.signals, new AgentLimits());
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
    const answer = { Id: 'c', State: { Running: true, ExitCode: 0 }, Config: { Env: ['A=hush'], Image: 'web:1' } };
    const body = Buffer.from(JSON.stringify(answer));
    await insertOrder(test.database, agent, 6);
    await insertOrder(test.database, agent, 7);
    await test.database.query(`UPDATE orders SET purpose = 'inspect-container' WHERE number = 6`);
    await service.store(result(6, { body }));
    await service.store(result(7, { body }));
    const [described, other] = await Promise.all([readOrder(6), readOrder(7)]);
    expect(described).toMatchObject({ answer: { container: { isRunning: true, exitCode: 0, isOutOfMemory: false } } });
    expect((described['result_body'] as Buffer).toString()).not.toContain('hush');
    expect(JSON.parse((described['result_body'] as Buffer).toString())).toMatchObject({ State: { Running: true } });
    expect(other['result_body']).toEqual(body);
  });

  it('is read as it is stored, and no more of it kept than its order is worth', async () => {
    await insertOrder(test.database, agent, 8);
    await test.database.query(`UPDATE orders SET purpose = 'pull' WHERE number = 8`);
    const body = Buffer.from(`${'\n'.repeat(MOST_ANSWER_BYTES - 100)}{"error":"manifest unknown\\u0000\\ud800"}\n`);
    await service.store(result(8, { body }));
    const stored = await readOrder(8);
    expect(stored['answer']).toEqual({ pullFailure: 'not-found', message: 'manifest unknown\ufffd\ufffd' });
    expect(stored['result_body']).toHaveLength(16_384);
  });

  it('that is too long is refused, and its order stays open', async () => {
    await insertOrder(test.database, agent, 9);
    const body = Buffer.alloc(MOST_ANSWER_BYTES + 1);
    await expect(service.store(result(9, { body }))).rejects.toMatchObject({ code: 'payload-too-large' });
    expect(await readOrder(9)).toMatchObject({ answered_at: null });
  });

  it('that describes nothing, since its beginning was cut, is told of', async () => {
    const warnings: unknown[][] = [];
    Logger.overrideLogger({ log: ignore, error: ignore, warn: (...parts: unknown[]) => warnings.push(parts) });
    await insertOrder(test.database, agent, 10);
    await test.database.query(`UPDATE orders SET purpose = 'inspect-exit' WHERE number = 10`);
    await service.store(result(10, { status: 200, body: Buffer.alloc(MOST_ANSWER_BYTES, '&') }));
    const reason = expect.stringMatching(/longer than what is kept of it/);
    expect(await readOrder(10)).toMatchObject({ answer: { message: reason } });
    expect(warnings).toEqual([
      [
        'description of no use',
        { instanceId: agent.instanceId, order: 10, purpose: 'inspect-exit', reason },
        'Results',
      ],
    ]);
  });

  it('of a probe may change twenty times, then six times a minute: each may be an event, and a delivery to each webhook', async () => {
    const other = await insertAgent(test.database);
    await insertOrder(test.database, other, 1, PROBE);
    const outcomes: string[] = [];
    for (let change = 0; change < 60; change += 1) {
      const probeState = change % 2 === 0 ? 'healthy' : 'unhealthy';
      const stored = service.store({ ...result(1, { probeState }), instanceId: other.instanceId });
      outcomes.push(
        await stored.then(
          () => 'stored',
          (error: unknown) => (error as Problem).code,
        ),
      );
    }
    // The first is no change. What is refused is no news where it is what was stored last.
    expect(outcomes.slice(0, 21)).toEqual(Array(21).fill('stored'));
    expect(outcomes.filter((outcome) => outcome === 'too-many-requests').length).toBeGreaterThanOrEqual(19);
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
      await blockedOnLock(test.database);
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

  function result(number: number, fields: Partial<Omit<Result, 'body'>> & { body?: Buffer }): Result {
    return {
      instanceId: agent.instanceId,
      number,
      status: 200,
      error: null,
      probeState: null,
      ...fields,
      body: Readable.from(fields.body ? [fields.body] : []),
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
});
