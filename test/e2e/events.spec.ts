import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { Signals } from '../../src/database/signals.ts';
import { appendEvents, type NewEvent } from '../../src/events/append-events.ts';
import { EventFeed } from '../../src/events/event-feed.ts';
import type { EventPage, EventResponse } from '../../src/events/event.schema.ts';
import { type Api, startApi } from '../support/api.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import { startDatabaseProxy } from '../support/database-proxy.ts';
import { EventSource, type Received } from '../support/event-source.ts';
import { until } from '../../local/until.ts';

const ADMIN_TOKEN = 'the-token-of-the-operator';
const AS_ADMIN = { authorization: `Bearer ${ADMIN_TOKEN}` };

// Two replicas without loops: whatever is sequenced is so because someone committed.
describe('events', () => {
  let test: TestDatabase;
  let one: Api;
  let two: Api;

  beforeAll(async () => {
    test = await createTestDatabase();
    const env = { ADMIN_TOKEN, ROLE: 'api', RATE_LIMIT: '100000' };
    one = await startApi({ databaseUrl: test.url, env });
    two = await startApi({ databaseUrl: test.url, env });
    await one.request('POST', '/v1/jobs', { body: { name: 'waker' } });
  });
  afterAll(async () => {
    await Promise.all([one.close(), two.close()]);
    await test.close();
  });

  const page = async (query: string, token = ADMIN_TOKEN): Promise<EventPage> => {
    const answer = await one.request('GET', `/v1/events?${query}`, { headers: { authorization: `Bearer ${token}` } });
    if (answer.status !== 200) throw new Error(answer.text);
    return answer.body as EventPage;
  };
  const lastPosition = async (): Promise<number> => (await page('order=newest&limit=1')).items[0]?.position ?? 0;
  /** As other processes write them, which ours then sequences. */
  const append = async (events: readonly NewEvent[]): Promise<void> => {
    await appendEvents(test.database, events);
    await one.request('PATCH', '/v1/jobs/waker', { body: {} });
  };
  const follow = (api: Api, query = '', lastEventId?: string): Promise<EventSource> =>
    EventSource.open(`${api.url}/v1/events?${query}`, { headers: AS_ADMIN, ...(lastEventId && { lastEventId }) });
  const makeToken = async (fields: object): Promise<{ id: string; token: string }> =>
    (await one.request('POST', '/v1/tokens', { body: { name: 'test', ...fields } })).body as never;

  it('tell who asked for what, and by which request', async () => {
    const { token, id } = await makeToken({ role: 'deployer' });
    const headers = { authorization: `Bearer ${token}`, 'x-request-id': 'req-1', 'idempotency-key': 'key-1' };
    const body = { name: 'asked-for', image: 'web:1', env: { A: 'not-to-be-told' } };
    await one.request('POST', '/v1/jobs', { headers, body });
    await one.request('POST', '/v1/jobs', { headers: { ...headers, 'x-request-id': 'req-2' }, body });
    await until(async () => (await page('job=asked-for')).items.length === 2);
    const { items, nextCursor, gap } = await page('job=asked-for');
    const common = { job: 'asked-for', actor: `token:${id}`, cause: { requestId: 'req-1', isKeyed: true } };
    expect(items).toMatchObject([
      { type: 'job.created', deployment: null, data: { kind: 'service' }, ...common },
      { type: 'deployment.created', deployment: 1, data: { trigger: 'api', image: 'web:1' }, ...common },
    ]);
    expect([nextCursor, gap]).toEqual([null, null]);
    expect(JSON.stringify(await page(''))).not.toContain('not-to-be-told');
  });

  it('are seen on the other replica at once, by a stream that began there', async () => {
    const source = await follow(two, 'job=waker&type=job.*');
    const delays: number[] = [];
    for (let number = 0; number < 40; number += 1) {
      const requestId = `wake-${number}`;
      await one.request('PATCH', '/v1/jobs/waker', {
        body: { env: { N: `${number}` } },
        headers: { 'x-request-id': requestId },
      });
      const answeredAt = performance.now();
      const [event] = await source.take(1);
      delays.push(performance.now() - answeredAt);
      expect(JSON.parse(event!.data)).toMatchObject({
        type: 'job.changed',
        cause: { requestId },
        data: { fields: ['env'] },
      });
    }
    source.close();
    const p95 = delays.toSorted((a, b) => a - b)[Math.floor(delays.length * 0.95)]!;
    if (process.env['SHOW_FIGURES']) console.log(`committed → seen on another replica: p95 ${p95.toFixed(1)} ms`);
    // Alone on its machine some milliseconds; nobody looks by themselves, so a lost signal would take minutes.
    expect(p95).toBeLessThan(1_000);
  });

  it('are followed without loss or repeat by whoever breaks off and goes to the other replica', async () => {
    const start = await lastPosition();
    const total = 600;
    const writing = (async () => {
      for (let at = 0; at < total; at += 20) {
        await append(Array.from({ length: 20 }, (_, number) => eventOf('many', { attempt: at + number })));
      }
    })();
    const seen: Received[] = [];
    for (let turn = 0; seen.length < total; turn += 1) {
      const from = seen.at(-1)?.id ?? String(start);
      const source = await follow(turn % 2 === 0 ? one : two, 'job=many', from);
      seen.push(...(await source.take(Math.min(1 + ((turn * 37) % 90), total - seen.length))));
      source.close();
    }
    await writing;
    const events = seen.map(({ data }) => JSON.parse(data) as EventResponse);
    expect(events.map(({ attempt }) => attempt)).toEqual(Array.from({ length: total }, (_, number) => number));
    expect(seen.map(({ id }) => Number(id))).toEqual(events.map(({ position }) => position));
    expect(new Set(seen.map(({ event }) => event))).toEqual(new Set(['attempt.waiting']));
  }, 60_000);

  it('wait for a client that does not read, and hold nothing for it', async () => {
    const start = await lastPosition();
    const slow = await follow(one, 'job=slow', String(start));
    const data = { text: 'x'.repeat(4_000) };
    const total = 3_000;
    for (let at = 0; at < total; at += 500) {
      await append(Array.from({ length: 500 }, (_, number) => eventOf('slow', { attempt: at + number, data })));
    }
    const quick = await follow(one, 'job=slow', String(start));
    expect(attemptsOf(await quick.take(total))).toEqual(Array.from({ length: total }, (_, number) => number));
    // 12 MB are in the table; what the sockets do not take is nowhere else.
    expect(one.app.get(EventFeed).size).toBe(2);
    expect(attemptsOf(await slow.take(total))).toEqual(Array.from({ length: total }, (_, number) => number));
    slow.close();
    quick.close();
    await until(() => Promise.resolve(one.app.get(EventFeed).size === 0));
  }, 60_000);

  it('are paged in both directions, and filtered by job, type, beginning of types and deployment', async () => {
    await append([
      eventOf('paged', { type: 'deployment.created', deployment: 1 }),
      eventOf('paged', { type: 'attempt.waiting', deployment: 1, attempt: 1 }),
      eventOf('paged', { type: 'deployment.active', deployment: 1 }),
      eventOf('paged', { type: 'deployment.created', deployment: 2 }),
      eventOf('paged', { type: 'job.deleted' }),
    ]);
    await until(async () => (await page('job=paged')).items.length === 5);
    const all = await page('job=paged');
    const types = ({ items }: EventPage) => items.map(({ type }) => type);
    expect(types(await page('job=paged&type=deployment.*'))).toEqual([
      'deployment.created',
      'deployment.active',
      'deployment.created',
    ]);
    expect(types(await page('job=paged&type=job.deleted'))).toEqual(['job.deleted']);
    expect(types(await page('job=paged&deployment=2'))).toEqual(['deployment.created']);
    expect(types(await page('type=deployment.active'))).toEqual(['deployment.active']);
    expect((await page('job=paged&order=newest')).items).toEqual(all.items.toReversed());
    const forward: EventResponse[] = [];
    for (let cursor: string | null = '0'; cursor !== null;) {
      const { items, nextCursor }: EventPage = await page(`job=paged&limit=2&after=${cursor}`);
      forward.push(...items);
      cursor = nextCursor;
    }
    expect(forward).toEqual(all.items);
    const newest = await page('job=paged&order=newest&limit=3');
    const rest = await page(`job=paged&order=newest&before=${newest.nextCursor!}`);
    expect([...newest.items, ...rest.items]).toEqual(all.items.toReversed());
  });

  it('show a token with a scope its jobs only, and tokens and registries to admins only', async () => {
    await append([
      eventOf('team-a-web'),
      eventOf('team-b-web'),
      { type: 'instance.launched', actor: 'fleet', instance: 'i-1' },
    ]);
    const { token: scoped } = await makeToken({ role: 'viewer', scope: ['team-a-'] });
    const { token: viewer } = await makeToken({ role: 'viewer' });
    await until(async () => (await page('type=instance.launched')).items.length > 0);
    const jobs = ({ items }: EventPage) => new Set(items.map(({ job }) => job));
    expect(jobs(await page('', scoped))).toEqual(new Set(['team-a-web']));
    expect((await page('job=team-b-web', scoped)).items).toEqual([]);
    expect((await page('type=instance.*', scoped)).items).toEqual([]);
    expect((await page('type=instance.*', viewer)).items).toHaveLength(1);
    const families = ({ items }: EventPage) => new Set(items.map(({ type }) => type.split('.')[0]));
    expect(families(await page('order=newest&limit=200')).has('token')).toBe(true);
    expect(families(await page('order=newest&limit=200', viewer)).has('token')).toBe(false);
    const headers = { authorization: `Bearer ${viewer}` };
    expect((await one.request('GET', '/v1/events?type=token.*', { headers })).status).toBe(403);
    // A stream looks by the same rules.
    const source = await EventSource.open(`${two.url}/v1/events`, { headers: { authorization: `Bearer ${scoped}` } });
    await append([eventOf('team-b-web'), eventOf('team-a-web', { attempt: 7 })]);
    await makeToken({ role: 'viewer' });
    expect(attemptsOf(await source.take(1))).toEqual([7]);
    source.close();
  });

  it.each([
    ['type=nothing', 'type'],
    ['type=deployment', 'type'],
    ['after=-1', 'after'],
    ['after=x', 'after'],
    ['before=7', 'before'],
    ['order=newest&after=7', 'after'],
    ['limit=0', 'limit'],
    ['deployment=0', 'deployment'],
    ['since=1', 'since'],
  ])('refuse ?%s with its name', async (query, parameter) => {
    const { status, body } = await one.request('GET', `/v1/events?${query}`);
    expect({ status, body }).toMatchObject({ status: 400, body: { errors: [{ parameter }] } });
  });

  it.each(['', 'abc', '-1', '1.5', '9'.repeat(16)])('refuse a Last-Event-ID of “%s”', async (lastEventId) => {
    const headers = { accept: 'text/event-stream', 'last-event-id': lastEventId };
    const { status, body } = await one.request('GET', '/v1/events', { headers });
    expect({ status, body }).toMatchObject({ status: 400, body: { errors: [{ header: 'Last-Event-ID' }] } });
  });

  it('tell a client that what it asks for is gone, or not there yet', async () => {
    await append([eventOf('gone', { attempt: 1 }), eventOf('gone', { attempt: 2 })]);
    await until(async () => (await page('job=gone')).items.length === 2);
    const [first, second] = (await page('job=gone')).items;
    await test.database.transaction(async (transaction) => {
      await transaction.query('DELETE FROM events WHERE position <= $1', [first!.position]);
      await transaction.query('UPDATE event_positions SET deleted_through = $1', [first!.position]);
    });
    const tooOld = { reason: 'too-old', after: 1, resumesAfter: first!.position };
    expect(await page('job=gone&after=1')).toMatchObject({ items: [{ position: second!.position }], gap: tooOld });
    expect(await page(`job=gone&after=${first!.position}`)).toMatchObject({ gap: null });
    expect(await page('job=gone')).toMatchObject({ gap: null });
    const source = await follow(two, 'job=gone', '1');
    const [gap, event] = await source.take(2);
    expect(gap).toEqual({ id: String(first!.position), event: 'gap', data: JSON.stringify(tooOld) });
    expect(event?.id).toBe(String(second!.position));
    source.close();

    const beyond = await follow(two, 'job=gone', '999999');
    const last = await lastPosition();
    const [notice] = await beyond.take(1);
    const expected = { reason: 'beyond-the-end', after: 999_999, resumesAfter: last };
    expect(JSON.parse(notice!.data)).toEqual(expected);
    expect(await page('after=999999')).toEqual({ items: [], nextCursor: null, gap: expected });
    await append([eventOf('gone', { attempt: 3 })]);
    expect(attemptsOf(await beyond.take(1))).toEqual([3]);
    beyond.close();
  });

  it('go on after the LISTEN connection was cut, and tell when positions have become lower meanwhile', async () => {
    const cut = () =>
      test.database.query(
        `SELECT pg_terminate_backend(pid) FROM pg_stat_activity
         WHERE application_name = 'scheduler-api listen' AND datname = current_database()`,
      );
    const source = await follow(two, 'job=cut');
    await cut();
    await append([eventOf('cut', { attempt: 1 })]);
    expect(attemptsOf(await source.take(1))).toEqual([1]);
    // As a database that was restored from a backup.
    await test.database.query('TRUNCATE events');
    await test.database.query('UPDATE event_positions SET last = 3, deleted_through = 0');
    await cut();
    const [gap] = await source.take(1);
    expect(JSON.parse(gap!.data)).toMatchObject({ reason: 'beyond-the-end', resumesAfter: 3 });
    await append([eventOf('cut', { attempt: 2 })]);
    expect(attemptsOf(await source.take(1))).toEqual([2]);
    source.close();
  });

  it('are followed on through an outage of the database, on the same connection', async () => {
    const proxy = await startDatabaseProxy(test.url);
    const far = await startApi({ databaseUrl: proxy.url, env: { ADMIN_TOKEN, ROLE: 'api' } });
    try {
      const source = await follow(far, 'job=outage');
      const feed = far.app.get(EventFeed, { strict: false });
      await until(() => feed.size === 1);
      await append([eventOf('outage', { attempt: 1 })]);
      expect(attemptsOf(await source.take(1))).toEqual([1]);

      proxy.cut();
      await append([eventOf('outage', { attempt: 2 })]);
      // Lets those who follow look, in vain.
      far.app.get(Signals, { strict: false }).eventsNumbered();
      const headers = { authorization: `Bearer ${ADMIN_TOKEN}` };
      expect((await far.request('GET', '/v1/events', { headers })).status).toBe(503);
      proxy.mend();
      expect(attemptsOf(await source.take(1))).toEqual([2]);
      source.close();
    } finally {
      await far.close();
      await proxy.close();
    }
  });

  it('end for a token when it is revoked', async () => {
    const { id, token } = await makeToken({ role: 'viewer' });
    const source = await EventSource.open(`${two.url}/v1/events`, { headers: { authorization: `Bearer ${token}` } });
    await one.request('DELETE', `/v1/tokens/${id}`);
    while (await source.next());
    const again = EventSource.open(`${two.url}/v1/events`, { headers: { authorization: `Bearer ${token}` } });
    await expect(again).rejects.toThrow('401');
  });

  it('end in order when the process shuts down, which waits for no stream', async () => {
    const three = await startApi({ databaseUrl: test.url, env: { ADMIN_TOKEN, ROLE: 'api' } });
    const source = await follow(three);
    const begunAt = performance.now();
    await Promise.all([three.close(), source.next()]);
    expect(performance.now() - begunAt).toBeLessThan(5_000);
    expect(await source.next()).toBeUndefined();
  });

  it('answer HEAD without a stream', async () => {
    const { status } = await one.request('HEAD', '/v1/events', { headers: { accept: 'text/event-stream' } });
    expect(status).toBe(200);
    await until(() => Promise.resolve(one.app.get(EventFeed).size === 0));
  });
});

function eventOf(job: string, fields: Partial<NewEvent> = {}): NewEvent {
  return { type: 'attempt.waiting', actor: 'scheduler', job, ...fields };
}

function attemptsOf(received: readonly Received[]): (number | null)[] {
  return received.map(({ data }) => (JSON.parse(data) as EventResponse).attempt);
}
