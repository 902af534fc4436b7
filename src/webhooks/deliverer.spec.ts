import { createSecretKey } from 'node:crypto';
import { beforeEach, describe, expect, it } from '@jest/globals';
import { settled } from '../../test/support/hand-clock.js';
import type { Database, Queryable } from '../database/database.js';
import { Deliverer, webhookTries } from './deliverer.js';
import type { Claim } from './delivery-queue.js';
import type { Outcome } from './post.js';
import { makeSecret, sign } from './signature.js';
import { sealSecret } from './webhook-secrets.js';

const KEYS = [createSecretKey(Buffer.alloc(32, 1))] as const;
const WEBHOOK = '00000000-0000-4000-8000-000000000001';
const SECRET = makeSecret();
const DELIVERED: Outcome = { status: 204, fault: null, latencyMs: 5 };
const NEXT = new Date('2026-05-04T09:31:07.000Z');

/** The rows and the queue, and what became of them. */
class World {
  due: string[] = [];
  /** Deliveries that are not to be sent any more. */
  readonly gone = new Set<string>();
  secrets: (Buffer | null)[] = [sealSecret(KEYS, WEBHOOK, SECRET), null];
  webhook: { enabled: boolean; isFailingLong: boolean } | undefined = { enabled: true, isFailingLong: false };
  /** What the queue says of another try. */
  next: Date | null | undefined = NEXT;
  outcome: Outcome = DELIVERED;
  /** Tries that are under way until they are answered. */
  waiting: Map<string, (outcome: Outcome) => void> | undefined;
  readonly sent: { url: string; headers: Readonly<Record<string, string>>; body: string }[] = [];
  readonly finished: string[] = [];
  readonly settledAs = new Map<string, readonly unknown[]>();
  /** As it is noted at the webhook. */
  hasSucceeded: unknown;
  disabledFor: unknown;
  isCancelled = false;
  readonly events: unknown[] = [];
  readonly logged: string[] = [];
  ends = 0;

  readonly deliverer = new Deliverer(
    {
      run: (statement: { name: string }, values: unknown[]) => this.run(statement, values),
      transaction: (work: (transaction: Queryable) => unknown) => work(this as unknown as Queryable),
    } as unknown as Database,
    {
      claim: (limit) => {
        if (limit < 1) throw new Error('pg-boss claims one at least');
        return Promise.resolve(this.due.splice(0, limit).map((deliveryId) => ({ deliveryId }) as Claim));
      },
      finish: (_transaction, { deliveryId }) => Promise.resolve(void this.finished.push(deliveryId)),
      retry: () => Promise.resolve(this.next),
    },
    KEYS,
    async (url, headers, body) => {
      this.sent.push({ url, headers, body });
      const { waiting } = this;
      return waiting ? await new Promise((done) => waiting.set(headers['webhook-id']!, done)) : this.outcome;
    },
    (message, deliveryId) => this.logged.push(`${message}: ${deliveryId}`),
  );

  run({ name }: { readonly name: string }, values: readonly unknown[]): Promise<unknown[]> {
    const [id, ...rest] = values as [string, ...unknown[]];
    if (name === 'webhook-delivery') return Promise.resolve(this.gone.has(id) ? [] : [this.#rowOf(id)]);
    if (name === 'webhook-tried') {
      this.hasSucceeded = rest[0];
      return Promise.resolve(this.webhook ? [this.webhook] : []);
    }
    if (name === 'webhook-settle') this.settledAs.set(id, rest);
    if (name === 'webhook-disable') this.disabledFor = rest[0];
    if (name === 'webhook-cancel-deliveries') this.isCancelled = true;
    if (name === 'append-events') this.events.push(...(JSON.parse(id) as unknown[]));
    return Promise.resolve([]);
  }

  #rowOf(id: string) {
    const now = new Date(1_777_887_067_999);
    return { id, webhookId: WEBHOOK, url: 'https://example.com/', body: '{"ä":1}', now, secrets: this.secrets };
  }

  async deliver(...ids: string[]): Promise<void> {
    this.due.push(...ids);
    await this.deliverer.run(() => (this.ends += 1));
    await this.deliverer.drain();
  }
}

describe('a delivery that is due', () => {
  let world: World;
  beforeEach(() => {
    world = new World();
  });

  it('is sent with its length and a signature of the second in which it is sent', async () => {
    await world.deliver('one');
    expect(world.sent).toEqual([
      {
        url: 'https://example.com/',
        headers: {
          'content-type': 'application/json',
          'user-agent': 'scheduler-api-webhooks/1',
          'content-length': '8',
          ...sign([SECRET], 'one', 1_777_887_067, '{"ä":1}'),
        },
        body: '{"ä":1}',
      },
    ]);
  });

  it.each<[string, Partial<World>, readonly unknown[], { isFinished: boolean; told: string; disabledFor?: string }]>([
    ['arrived', {}, ['delivered', null, 204, 5, null], { isFinished: true, told: 'delivered' }],
    [
      'is to be tried again',
      { outcome: { status: 500, fault: 'answered', latencyMs: 7 } },
      ['pending', 'answered', 500, 7, NEXT],
      { isFinished: false, told: 'retried' },
    ],
    [
      'is to be tried again, though its webhook has failed for long',
      { outcome: { status: 500, fault: 'answered', latencyMs: 7 }, webhook: { enabled: true, isFailingLong: true } },
      ['pending', 'answered', 500, 7, NEXT],
      { isFinished: false, told: 'retried' },
    ],
    [
      'was tried for the last time',
      { outcome: { status: null, fault: 'timed-out', latencyMs: 9 }, next: null },
      ['failed', 'timed-out', null, 9, null],
      { isFinished: false, told: 'failed' },
    ],
    [
      'was tried for the last time by a webhook that has failed for long',
      {
        outcome: { status: null, fault: 'timed-out', latencyMs: 9 },
        next: null,
        webhook: { enabled: true, isFailingLong: true },
      },
      ['failed', 'timed-out', null, 9, null],
      { isFinished: false, told: 'failed', disabledFor: 'failing' },
    ],
    [
      'was answered that nobody is there any more',
      { outcome: { status: 410, fault: 'answered', latencyMs: 3 } },
      ['failed', 'answered', 410, 3, null],
      { isFinished: true, told: 'failed', disabledFor: 'gone' },
    ],
    [
      'was answered so of a webhook that is disabled already',
      {
        outcome: { status: 410, fault: 'answered', latencyMs: 3 },
        webhook: { enabled: false, isFailingLong: true },
      },
      ['failed', 'answered', 410, 3, null],
      { isFinished: true, told: 'failed' },
    ],
    [
      'was tried for the last time by a webhook that is deleted',
      { outcome: { status: 500, fault: 'answered', latencyMs: 3 }, next: null, webhook: undefined },
      ['failed', 'answered', 500, 3, null],
      { isFinished: false, told: 'failed' },
    ],
  ])('%s: so it is written, told to who counts, and its webhook is disabled or not', async (_what, ...row) => {
    const [state, settledAs, { isFinished, told, disabledFor }] = row;
    Object.assign(world, state);
    const outcomes: unknown[] = [];
    const leave = webhookTries.subscribe((tried) => outcomes.push(tried));
    await world.deliver('one');
    leave();
    expect(world.settledAs).toEqual(new Map([['one', settledAs]]));
    expect(world.finished).toEqual(isFinished ? ['one'] : []);
    expect(outcomes).toEqual([{ outcome: told, latencyMs: settledAs[3] }]);
    expect(world.hasSucceeded).toBe(told === 'delivered');
    expect([world.disabledFor, world.isCancelled]).toEqual([disabledFor, disabledFor !== undefined]);
    expect(world.events).toEqual(
      disabledFor === undefined
        ? []
        : [
            {
              type: 'webhook.disabled',
              actor: 'scheduler',
              cause: { reason: disabledFor },
              data: { webhook: WEBHOOK },
            },
          ],
    );
  });

  it('is left to who has its claim now, where that has expired meanwhile', async () => {
    Object.assign(world, { outcome: { status: 500, fault: 'answered', latencyMs: 1 }, next: undefined });
    const outcomes: unknown[] = [];
    const leave = webhookTries.subscribe((tried) => outcomes.push(tried));
    await world.deliver('one');
    leave();
    expect([world.settledAs.size, world.finished, outcomes, world.ends]).toEqual([0, [], [], 1]);
  });

  it('is not sent where it is gone, and leaves the queue', async () => {
    world.gone.add('one');
    await world.deliver('one');
    expect([world.sent, world.finished, world.settledAs.size]).toEqual([[], ['one'], 0]);
  });

  it('is not sent unsigned where no key opens its secret, and is tried again', async () => {
    world.secrets = [Buffer.alloc(64), null];
    await world.deliver('one');
    expect(world.sent).toEqual([]);
    expect(world.settledAs.get('one')).toEqual(['pending', 'secret-unreadable', null, 0, NEXT]);
    expect(world.logged).toEqual(['secret of a webhook could not be read: one']);
  });

  it('holds up no other where its outcome could not be stored', async () => {
    const run = world.run.bind(world);
    world.run = (statement, values) =>
      statement.name === 'webhook-settle' && values[0] === 'one'
        ? Promise.reject(new Error('away'))
        : run(statement, values);
    await world.deliver('one', 'two');
    expect(world.logged).toEqual(['try failed: one']);
    expect([[...world.settledAs.keys()], world.ends]).toEqual([['two'], 2]);
  });

  it('waits while 32 tries are under way, and each that ends makes room', async () => {
    const waiting = new Map<string, (outcome: Outcome) => void>();
    world.waiting = waiting;
    world.due = Array.from({ length: 40 }, (_, n) => `d${n}`);
    const run = async (): Promise<void> => {
      await world.deliverer.run(() => (world.ends += 1));
      await settled();
    };
    await run();
    expect([waiting.size, world.due.length]).toEqual([32, 8]);
    await run();
    expect(world.due).toHaveLength(8);
    waiting.get('d0')!(DELIVERED);
    await settled();
    await run();
    expect([waiting.size, world.due.length, world.ends]).toEqual([33, 7, 1]);
    let hasDrained = false;
    const draining = world.deliverer.drain().then(() => (hasDrained = true));
    await settled();
    expect(hasDrained).toBe(false);
    for (const answer of waiting.values()) answer(DELIVERED);
    await draining;
    expect(world.ends).toBe(33);
    world.waiting = undefined;
    await world.deliver();
    expect([world.due, world.settledAs.size]).toEqual([[], 40]);
  });
});
