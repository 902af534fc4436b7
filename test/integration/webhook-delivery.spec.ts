import { createSecretKey } from 'node:crypto';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { appendEvents, type NewEvent } from '../../src/events/append-events.ts';
import { Sequencer } from '../../src/events/sequencer.ts';
import { Loop } from '../../src/process/loop.ts';
import { parseAllowed } from '../../src/webhooks/address-rules.ts';
import { Deliverer, webhookTries } from '../../src/webhooks/deliverer.ts';
import { DeliveryQueue } from '../../src/webhooks/delivery-queue.ts';
import { FanOut } from '../../src/webhooks/fan-out.ts';
import { createPost } from '../../src/webhooks/post.ts';
import { createResolve } from '../../src/webhooks/resolve-name.ts';
import { makeSecret } from '../../src/webhooks/signature.ts';
import { sealSecret } from '../../src/webhooks/webhook-secrets.ts';
import { blockedOnLock } from '../support/blocked-on-lock.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import { startDatabaseProxy } from '../support/database-proxy.ts';
import { until } from '../../local/until.ts';
import { type Receiver, startReceiver } from '../support/receiver.ts';

const KEYS = [createSecretKey(Buffer.alloc(32, 1))] as const;
const POST = createPost({ allowed: parseAllowed(['127.0.0.1']), resolve: createResolve(), timeoutMs: 1_000 });

type Row = { id: string; status: string; attempts: number; fault: string | null; next_attempt_at: Date | null };

describe('delivering webhooks', () => {
  let test: TestDatabase;
  let receiver: Receiver;
  let processes: Process[];
  beforeAll(async () => {
    test = await createTestDatabase();
    processes = [await startProcess(test), await startProcess(test)];
  });
  afterAll(async () => {
    for (const { queue } of processes) await queue.stop();
    await test.close();
  });
  beforeEach(async () => {
    receiver = await startReceiver();
  });
  afterEach(async () => {
    for (const { deliverer } of processes) await deliverer.drain();
    await receiver.close();
    await test.database.query('TRUNCATE webhooks, webhook_deliveries');
    await test.database.query('DELETE FROM scheduler_queue.job');
  });

  it('goes on when the database goes away while it waits: what the queue says of it is a trouble, not the end', async () => {
    const proxy = await startDatabaseProxy(test.url);
    const troubles: string[] = [];
    const queue = new DeliveryQueue(proxy.url, (message) => void troubles.push(message));
    try {
      await queue.start();
      expect(await queue.claim(1)).toEqual([]);
      proxy.cut();
      await until(() => troubles.includes('webhook queue'));
      proxy.mend();
      await until(() =>
        queue.claim(1).then(
          () => true,
          () => false,
        ),
      );
    } finally {
      await queue.stop();
      await proxy.close();
    }
  });

  it('makes a delivery of each event for each webhook that wants it, as the event is read', async () => {
    const all = await insertWebhook({});
    const active = await insertWebhook({ events: ['deployment.active', 'job.*'] });
    const team = await insertWebhook({ jobs: ['team-a-', 'web'] });
    const admin = await insertWebhook({ is_for_admins: true });
    await insertWebhook({ enabled: false });
    await append(
      { type: 'job.created', job: 'web' },
      { type: 'deployment.active', job: 'team-a-api', deployment: 3, cause: { reason: 'x' } },
      { type: 'deployment.failed', job: 'other' },
      { type: 'instance.launched', instance: 'i-1' },
      { type: 'token.created', data: { token: '12345678' } },
    );
    await processes[0]!.fanOut.run();
    const made = await test.database.query<{ webhook_id: string; type: string; body: string }>(
      'SELECT webhook_id, type, body FROM webhook_deliveries ORDER BY position',
    );
    const typesOf = (id: string) => made.filter(({ webhook_id }) => webhook_id === id).map(({ type }) => type);
    const open = ['job.created', 'deployment.active', 'deployment.failed', 'instance.launched'];
    expect(typesOf(all)).toEqual(open);
    expect(typesOf(active)).toEqual(['job.created', 'deployment.active']);
    expect(typesOf(team)).toEqual(['job.created', 'deployment.active']);
    expect(typesOf(admin)).toEqual([...open, 'token.created']);
    expect(made).toHaveLength(13);
    expect(JSON.parse(made.find(({ type }) => type === 'deployment.active')!.body)).toEqual({
      position: expect.any(Number),
      at: expect.stringMatching(/^2.*Z$/),
      type: 'deployment.active',
      job: 'team-a-api',
      deployment: 3,
      attempt: null,
      instance: null,
      actor: 'scheduler',
      cause: { reason: 'x' },
      data: {},
    });
  });

  it('delivers each event once, also with two processes at it', async () => {
    await insertWebhook({});
    await append(...Array.from({ length: 60 }, (): NewEvent => ({ type: 'job.changed', actor: 'admin', job: 'web' })));
    await Promise.all(processes.map(({ fanOut }) => fanOut.run()));
    await Promise.all(processes.map(runUntilIdle));
    expect(await counts()).toEqual({ delivered: 60 });
    expect(new Set(receiver.received.map(({ id }) => id)).size).toBe(60);
    expect(receiver.received).toHaveLength(60);
  });

  it('passes over a webhook that is being deleted while it makes deliveries', async () => {
    const [leaving, staying] = [await insertWebhook({}), await insertWebhook({})];
    await append({ type: 'job.created', job: 'web' });
    const fannedOut = await test.database.transaction(async (transaction) => {
      await transaction.query('DELETE FROM webhooks WHERE id = $1', [leaving]);
      const running = processes[0]!.fanOut.run();
      running.catch(() => undefined);
      await blockedOnLock(transaction);
      return { running };
    });
    await fannedOut.running;
    const made = await test.database.query('SELECT webhook_id FROM webhook_deliveries');
    expect(made).toEqual([{ webhook_id: staying }]);
  });

  it('loses nothing when it dies between any two steps', async () => {
    await insertWebhook({});
    await append({ type: 'job.created', job: 'web' }, { type: 'job.deleted', job: 'web' });
    const dying = { add: () => Promise.reject(new Error('died')) };
    await expect(new FanOut(test.database, dying).run()).rejects.toThrow('died');
    expect(await queued()).toBe(0);
    await processes[0]!.fanOut.run();
    expect(await queued()).toBe(2);

    // Killed with a try in the air: its time passes, somebody else tries.
    expect(await processes[0]!.queue.claim(1)).toHaveLength(1);
    await processes[1]!.fanOut.run();
    await runUntilIdle(processes[1]!);
    expect(await counts()).toEqual({ delivered: 1, pending: 1 });
    await loseClaims();
    await makeDue();
    await runUntilIdle(processes[1]!);
    expect(await counts()).toEqual({ delivered: 2 });
    expect(new Set(receiver.received.map(({ id }) => id)).size).toBe(2);
  });

  it('tries again later and later what was not taken, with the same id and body and a new signature', async () => {
    await insertWebhook({});
    receiver.answer((_request, nth) => (nth < 4 ? 500 : 204));
    await append({ type: 'job.created', job: 'web' });
    await processes[0]!.fanOut.run();
    const waits: number[] = [];
    const outcomes: string[] = [];
    const leave = webhookTries.subscribe(({ outcome }) => outcomes.push(outcome));
    for (let attempt = 1; attempt < 4; attempt += 1) {
      await runUntilIdle(processes[0]!);
      const [row] = await deliveries();
      expect(row).toMatchObject({ status: 'pending', attempts: attempt, fault: 'answered' });
      waits.push((row!.next_attempt_at!.getTime() - Date.now()) / 1000);
      // Not a moment earlier.
      await runUntilIdle(processes[1]!);
      expect(receiver.received).toHaveLength(attempt);
      await makeDue();
    }
    await runUntilIdle(processes[0]!);
    leave();
    expect(outcomes).toEqual(['retried', 'retried', 'retried', 'delivered']);
    expect(await deliveries()).toMatchObject([
      { status: 'delivered', attempts: 4, next_attempt_at: null, fault: null },
    ]);
    [
      [8, 20],
      [18, 40],
      [38, 80],
    ].forEach(([least, most], index) => {
      expect(waits[index]).toBeGreaterThan(least!);
      expect(waits[index]).toBeLessThanOrEqual(most!);
    });
    expect(new Set(receiver.received.map(({ id, body }) => id + body)).size).toBe(1);
  });

  it('gives up after sixteen tries, and disables who has failed for three days, with an event', async () => {
    const webhook = await insertWebhook({});
    receiver.answer(() => 503);
    const giveUp = async () => {
      await append({ type: 'job.created', job: 'web' });
      await processes[0]!.fanOut.run();
      await test.database.query(
        `UPDATE scheduler_queue.job SET retry_count = 14, start_after = now() WHERE state < 'active'`,
      );
      await test.database.query(`UPDATE scheduler_queue.job SET state = 'retry' WHERE state < 'active'`);
      for (let tries = 0; tries < 3; tries += 1) {
        await runUntilIdle(processes[0]!);
        await makeDue();
      }
    };
    await giveUp();
    expect(await counts()).toEqual({ failed: 1 });
    expect(await stateOf(webhook)).toMatchObject({ enabled: true, failing_since: expect.any(Date) });

    await test.database.query(`UPDATE webhooks SET failing_since = failing_since - interval '73 hours'`);
    await test.database.query(
      `INSERT INTO webhook_deliveries (id, webhook_id, type, body) VALUES (gen_random_uuid(), $1, 'x', '{}')`,
      [webhook],
    );
    const before = await events('webhook.disabled');
    await giveUp();
    expect(await stateOf(webhook)).toMatchObject({ enabled: false, disabled_reason: 'failing' });
    expect(await counts()).not.toHaveProperty('pending');
    expect(await events('webhook.disabled')).toBe(before + 1);
    // What is queued is dropped, and nothing new is made.
    const tried = receiver.received.length;
    await append({ type: 'job.created', job: 'web' });
    await processes[0]!.fanOut.run();
    await makeDue();
    await runUntilIdle(processes[0]!);
    expect(receiver.received).toHaveLength(tried);
  });

  it('disables at once who answers 410, and forgets failures with a success', async () => {
    const webhook = await insertWebhook({});
    receiver.answer((_request, nth) => [500, 200, 410][nth - 1] ?? 200);
    await append({ type: 'job.created', job: 'web' });
    await processes[0]!.fanOut.run();
    await runUntilIdle(processes[0]!);
    expect(await stateOf(webhook)).toMatchObject({ failing_since: expect.any(Date) });
    await makeDue();
    await runUntilIdle(processes[0]!);
    expect(await stateOf(webhook)).toMatchObject({ failing_since: null, enabled: true });
    await append({ type: 'job.deleted', job: 'web' });
    await processes[0]!.fanOut.run();
    await runUntilIdle(processes[0]!);
    expect(await stateOf(webhook)).toMatchObject({ enabled: false, disabled_reason: 'gone' });
    expect(await counts()).toEqual({ delivered: 1, failed: 1 });
  });

  it('marks as failed what died in its last try', async () => {
    await insertWebhook({});
    await append({ type: 'job.created', job: 'web' });
    await processes[0]!.fanOut.run();
    expect(await processes[0]!.queue.claim(1)).toHaveLength(1);
    await test.database.query('UPDATE scheduler_queue.job SET retry_count = 15');
    await loseClaims();
    const settle = async (ids: readonly string[]) => {
      expect(ids).toEqual((await deliveries()).map(({ id }) => id));
    };
    expect(await processes[1]!.queue.takeGivenUp(settle)).toBe(1);
    expect(await processes[1]!.queue.takeGivenUp(settle)).toBe(0);
  });

  it('keeps when it was cancelled, though its try was under way and failed later', async () => {
    await insertWebhook({});
    const late = Promise.withResolvers<number>();
    receiver.answer((_request, nth) => (nth === 1 ? late.promise : 410));
    await append({ type: 'job.created', job: 'web' });
    await processes[0]!.fanOut.run();
    await processes[0]!.deliverer.run(() => undefined);
    await receiver.until(1);
    await append({ type: 'job.deleted', job: 'web' });
    await processes[1]!.fanOut.run();
    await runUntilIdle(processes[1]!);
    const [cancelled] = await deliveries();
    expect(cancelled).toMatchObject({ status: 'cancelled', settled_at: expect.any(Date) });
    late.resolve(500);
    await processes[0]!.deliverer.drain();
    expect(await deliveries()).toMatchObject([
      { status: 'cancelled', attempts: 1, fault: 'answered', settled_at: expect.any(Date), next_attempt_at: null },
      { status: 'failed' },
    ]);
  });

  it('keeps what whoever took it over has written, when the first try ends after its time', async () => {
    await insertWebhook({});
    const late = Promise.withResolvers<number>();
    receiver.answer((_request, nth) => (nth === 1 ? late.promise : 200));
    await append({ type: 'job.created', job: 'web' });
    await processes[0]!.fanOut.run();
    await processes[0]!.deliverer.run(() => undefined);
    await receiver.until(1);
    await loseClaims();
    await makeDue();
    await runUntilIdle(processes[1]!);
    expect(await counts()).toEqual({ delivered: 1 });
    late.resolve(500);
    await processes[0]!.deliverer.drain();
    expect(await deliveries()).toMatchObject([{ status: 'delivered', attempts: 1, fault: null }]);
    await makeDue();
    await runUntilIdle(processes[0]!);
    expect(receiver.received).toHaveLength(2);
  });

  it('lets a slow receiver hold up nobody else', async () => {
    const slow = await startReceiver();
    slow.answer(() => 'never');
    await insertWebhook({ url: slow.url });
    await append(...Array.from({ length: 40 }, (): NewEvent => ({ type: 'job.changed', actor: 'admin', job: 'web' })));
    await processes[0]!.fanOut.run();
    await insertWebhook({});
    await append(...Array.from({ length: 40 }, (): NewEvent => ({ type: 'job.changed', actor: 'admin', job: 'web' })));
    await processes[0]!.fanOut.run();
    const startedAt = performance.now();
    const running = keepRunning(processes[0]!);
    await receiver.until(40);
    expect(performance.now() - startedAt).toBeLessThan(5_000);
    expect(slow.most()).toBe(8);
    expect(receiver.most()).toBeLessThanOrEqual(8);
    await running.stop();
    await slow.close();
  });

  it('has 32 tries under way at most, whatever is due', async () => {
    const receivers = await Promise.all([1, 2, 3, 4, 5, 6].map(() => startReceiver()));
    for (const slow of receivers) {
      slow.answer(() => 'never');
      await insertWebhook({ url: slow.url });
    }
    await append(...Array.from({ length: 8 }, (): NewEvent => ({ type: 'job.changed', actor: 'admin', job: 'web' })));
    expect(await processes[0]!.fanOut.run()).toBe(48);
    await processes[0]!.deliverer.run(() => undefined);
    await processes[0]!.deliverer.drain();
    expect(receivers.reduce((sum, { received }) => sum + received.length, 0)).toBe(32);
    for (const slow of receivers) await slow.close();
  });

  it('fans 5,000 events out in transactions of bounded size', async () => {
    await insertWebhook({});
    await insertWebhook({ events: ['job.deleted'] });
    await test.database.query(
      `INSERT INTO events (type, job, actor) SELECT 'job.changed', 'job-' || n, 'admin' FROM generate_series(1, 5000) n`,
    );
    await new Sequencer(test.database, test.signals).run();
    expect(await processes[0]!.fanOut.run()).toBe(5_000);
    expect(await queued()).toBe(5_000);
    const running = keepRunning(processes[0]!, processes[1]!);
    await receiver.until(500);
    await running.stop();
    const { length } = receiver.received;
    expect(new Set(receiver.received.map(({ body }) => body)).size).toBe(length);
    expect(await counts()).toEqual({ delivered: length, pending: 5_000 - length });
  }, 60_000);

  type WebhookFields = {
    url: string;
    events: string[];
    jobs: string[] | null;
    enabled: boolean;
    is_for_admins: boolean;
  };

  async function insertWebhook(fields: Partial<WebhookFields>): Promise<string> {
    const { url = receiver.url, events: wanted = ['*'], jobs = null, enabled = true, is_for_admins = false } = fields;
    const id = crypto.randomUUID();
    await test.database.query(
      `INSERT INTO webhooks (id, url, description, events, jobs, enabled, sealed, created_by, is_for_admins)
       VALUES ($1, $2, '', $3, $4, $5, $6, 'admin', $7)`,
      [id, url, wanted, jobs, enabled, sealSecret(KEYS, id, makeSecret()), is_for_admins],
    );
    return id;
  }

  async function append(...list: (Omit<NewEvent, 'actor'> & { actor?: string })[]): Promise<void> {
    await appendEvents(
      test.database,
      list.map((event) => ({ actor: 'scheduler', ...event })),
    );
    await new Sequencer(test.database, test.signals).run();
  }

  async function deliveries(): Promise<Row[]> {
    return await test.database.query<Row>('SELECT * FROM webhook_deliveries ORDER BY position');
  }

  async function counts(): Promise<Record<string, number>> {
    const rows = await test.database.query<{ status: string; count: number }>(
      'SELECT status, count(*)::int FROM webhook_deliveries GROUP BY status',
    );
    return Object.fromEntries(rows.map(({ status, count }) => [status, count]));
  }

  async function queued(): Promise<number> {
    const [row] = await test.database.query<{ count: number }>(
      `SELECT count(*)::int FROM scheduler_queue.job WHERE name = 'webhook-deliveries' AND state < 'completed'`,
    );
    return row!.count;
  }

  async function events(type: string): Promise<number> {
    const [row] = await test.database.query<{ count: number }>('SELECT count(*)::int FROM events WHERE type = $1', [
      type,
    ]);
    return row!.count;
  }

  async function stateOf(id: string): Promise<object> {
    const [row] = await test.database.query('SELECT * FROM webhooks WHERE id = $1', [id]);
    return row!;
  }

  /** Their time is over, and the queue looks, though it did a moment ago. */
  async function loseClaims(): Promise<void> {
    await test.database.query(
      `UPDATE scheduler_queue.job SET started_on = started_on - interval '1 hour' WHERE state = 'active'`,
    );
    await test.database.query('UPDATE scheduler_queue.queue SET monitor_on = NULL, monitor_claim_on = NULL');
    await processes[1]!.queue.supervise();
  }

  async function makeDue(): Promise<void> {
    await test.database.query(`UPDATE scheduler_queue.job SET start_after = now() WHERE state < 'active'`);
  }
});

type Process = Awaited<ReturnType<typeof startProcess>>;

/** What a process with the loops has of webhooks, without the loops. */
async function startProcess({ url, database }: TestDatabase) {
  const queue = new DeliveryQueue(url, (message, error) => console.error(message, error));
  await queue.start();
  const fail = (message: string, id: string, error: unknown): void => console.error(message, id, error);
  return { queue, fanOut: new FanOut(database, queue), deliverer: new Deliverer(database, queue, KEYS, POST, fail) };
}

/** Until nothing is due. */
async function runUntilIdle({ deliverer }: Process): Promise<void> {
  for (let ended = 1; ended > 0;) {
    ended = 0;
    await deliverer.run(() => (ended += 1));
    await deliverer.drain();
  }
}

/** The loop that delivers, as the service has it. */
function keepRunning(...running: Process[]) {
  const loops = running.map(({ deliverer }) => {
    const loop: Loop = new Loop({
      name: 'delivery',
      run: async () => {
        await deliverer.run(() => loop.wake());
        return 2_000;
      },
      onError: (_name, error) => console.error(error),
    });
    loop.start();
    return loop;
  });
  return {
    stop: async () => {
      await Promise.all(loops.map((loop) => loop.stop()));
      await Promise.all(running.map(({ deliverer }) => deliverer.drain()));
    },
  };
}
