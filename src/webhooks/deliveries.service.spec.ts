import { beforeEach, describe, expect, it } from '@jest/globals';
import type { Database } from '../database/database.js';
import type { Signals } from '../database/signals.js';
import { inNameOf } from '../events/author.js';
import { ADMIN } from '../http/caller.js';
import { DeliveriesService } from './deliveries.service.js';

const WEBHOOK = '00000000-0000-4000-8000-000000000001';
const ID = '00000000-0000-4000-8000-000000000002';
const AT = new Date('2026-05-04T09:31:07.000Z');
const PLAIN = {
  id: ID,
  position: '1042' as string | null,
  type: 'job.created',
  job: 'web' as string | null,
  status: 'pending',
  attempts: 0,
  fault: null as string | null,
  answerStatus: null as number | null,
  latencyMs: null as number | null,
  attemptedAt: null as Date | null,
  nextAttemptAt: null as Date | null,
  createdAt: AT,
  settledAt: null as Date | null,
};
const ROW = { ...PLAIN, exactCreatedAt: '2026-05-04T09:31:07.000123Z' };

/** A webhook and its deliveries, by the statement that reads each. */
class Table {
  webhook: { enabled: boolean } | undefined = { enabled: true };
  readonly rows = new Map<string, object[]>();
  readonly written = new Map<string, readonly unknown[]>();
  readonly events: { type: string }[] = [];

  run({ name }: { readonly name: string }, values: readonly unknown[]): Promise<unknown[]> {
    if (name === 'webhook-get' || name === 'webhook-hold') return Promise.resolve(this.webhook ? [this.webhook] : []);
    if (name === 'append-events') this.events.push(...(JSON.parse(values[0] as string) as typeof this.events));
    this.written.set(name, values);
    return Promise.resolve(this.rows.get(name) ?? []);
  }

  transaction(work: (transaction: Table) => unknown): unknown {
    return work(this);
  }
}

describe('deliveries of a webhook', () => {
  let table: Table;
  let told: number;
  let deliveries: DeliveriesService;
  beforeEach(() => {
    table = new Table();
    told = 0;
    const signals = { deliveriesWritten: () => (told += 1) };
    deliveries = new DeliveriesService(table as unknown as Database, signals as unknown as Signals);
  });

  const rowsOf = (name: string, ...rows: object[]) => table.rows.set(`webhook-delivery-${name}`, rows);

  it('are shown with all their times and their number, or without', async () => {
    const at = AT.toISOString();
    rowsOf('get', ROW);
    expect(await deliveries.get(WEBHOOK, ID, ADMIN)).toEqual({ ...PLAIN, position: 1042, createdAt: at });
    const settled = { attemptedAt: AT, nextAttemptAt: AT, settledAt: AT };
    rowsOf('get', { ...ROW, ...settled, position: null });
    expect(await deliveries.get(WEBHOOK, ID, ADMIN)).toEqual({
      ...PLAIN,
      position: null,
      createdAt: at,
      attemptedAt: at,
      nextAttemptAt: at,
      settledAt: at,
    });
  });

  it('are listed page by page', async () => {
    rowsOf(
      'list',
      ...[0, 1, 2].map((n) => ({ ...ROW, id: `${ID.slice(0, -1)}${n}`, pageRows: 3, pageBytesBefore: '0' })),
    );
    const page = await deliveries.list(WEBHOOK, { limit: 2 }, ADMIN);
    expect(page.items.map(({ id }) => id.at(-1))).toEqual(['0', '1']);
    expect(table.written.get('webhook-delivery-list')!.slice(3)).toEqual([null, null, null, 3]);
    await deliveries.list(WEBHOOK, { limit: 2, status: 'failed', cursor: page.nextCursor! }, ADMIN);
    const last = page.items.at(-1)!.id;
    expect(table.written.get('webhook-delivery-list')!.slice(3)).toEqual(['failed', ROW.exactCreatedAt, last, 3]);
  });

  it('are not found where there are none, or the webhook is none, and an id of another form reaches no statement', async () => {
    const calls = (id: string) => [deliveries.get(WEBHOOK, id, ADMIN), deliveries.redeliver(WEBHOOK, id, ADMIN)];
    for (const id of [ID, 'x']) {
      table.written.clear();
      for (const outcome of await Promise.allSettled(calls(id)))
        expect(outcome).toMatchObject({ reason: { code: 'delivery-not-found' } });
      expect(table.written.size > 0).toBe(id === ID);
    }
    table.webhook = undefined;
    const all = [...calls(ID), deliveries.list(WEBHOOK, { limit: 2 }, ADMIN), deliveries.ping(WEBHOOK, ADMIN)];
    for (const outcome of await Promise.allSettled(all))
      expect(outcome).toMatchObject({ reason: { code: 'webhook-not-found' } });
    expect([told, table.events]).toEqual([0, []]);
  });

  it('are made of a ping, in the form of an event that has no position, and sent at once', async () => {
    rowsOf('ping', { ...ROW, type: 'webhook.ping', position: null });
    const author = { actor: 'admin', cause: { requestId: 'x' } };
    const delivery = await inNameOf(author, () => deliveries.ping(WEBHOOK, ADMIN));
    expect(delivery).toMatchObject({ type: 'webhook.ping', position: null });
    expect(JSON.parse(table.written.get('webhook-delivery-ping')![1] as string)).toEqual({
      position: null,
      at: expect.stringMatching(/^2.*Z$/),
      type: 'webhook.ping',
      job: null,
      deployment: null,
      attempt: null,
      instance: null,
      ...author,
      data: { webhook: WEBHOOK },
    });
    expect([told, table.events]).toEqual([1, [{ ...author, type: 'webhook.pinged', data: { webhook: WEBHOOK } }]]);
  });

  it('are made of ten pings a minute at most', async () => {
    await expect(deliveries.ping(WEBHOOK, ADMIN)).rejects.toMatchObject({
      code: 'too-many-requests',
      detail: 'A webhook may be pinged 10 times in 60 seconds.',
      headers: { 'retry-after': '60' },
    });
    expect(table.written.get('webhook-delivery-ping')!.slice(2)).toEqual([10, 60]);
    expect([told, table.events]).toEqual([0, []]);
  });

  it('are sent once more, with an event', async () => {
    rowsOf('redeliver', ROW);
    expect(await deliveries.redeliver(WEBHOOK, ID, ADMIN)).toMatchObject({ id: ID });
    const data = { webhook: WEBHOOK, delivery: ID };
    expect([told, table.events]).toMatchObject([1, [{ type: 'webhook.redelivered', data }]]);
  });

  it('are not sent once more where the webhook would not get them any more', async () => {
    rowsOf('get', ROW);
    await expect(deliveries.redeliver(WEBHOOK, ID, ADMIN)).rejects.toMatchObject({ code: 'conflict' });
    expect([told, table.events]).toEqual([0, []]);
  });

  it('are not sent while the webhook is disabled', async () => {
    table.webhook = { enabled: false };
    rowsOf('ping', ROW);
    rowsOf('redeliver', ROW);
    for (const call of [deliveries.ping(WEBHOOK, ADMIN), deliveries.redeliver(WEBHOOK, ID, ADMIN)])
      await expect(call).rejects.toMatchObject({ code: 'webhook-disabled' });
    expect([told, table.events]).toEqual([0, []]);
  });
});
