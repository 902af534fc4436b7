import { request } from 'node:http';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { type Api, startApi } from '../support/api.ts';
import { insertAgent, insertOrder } from '../support/agents.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import { until } from '../../local/until.ts';

const STREAM = { kind: 'stream', name: 'events', path: '/events', follow: true, timeoutSeconds: 60 } as const;
const event = (second: number) => `{"Type":"container","timeNano":${second}000000001}\n`;

describe('a stream of an order', () => {
  let test: TestDatabase;
  let api: Api;
  let agent: Awaited<ReturnType<typeof insertAgent>>;

  beforeAll(async () => {
    test = await createTestDatabase();
    api = await startApi({ databaseUrl: test.url, env: { ROLE: 'api' } });
  });
  afterAll(async () => {
    await api.close();
    await test.close();
  });
  beforeEach(async () => {
    agent = await insertAgent(test.database);
    await insertOrder(test.database, agent, 1, STREAM);
  });

  it('is kept as it comes, each line once, and answered with where the next upload is to begin', async () => {
    const one = open(1, '0');
    one.write(event(1) + event(2).slice(0, 20));
    await until(async () => (await stored()) === event(1));
    one.write(event(2).slice(20) + event(3).slice(0, 5));
    expect(await one.end()).toEqual({ status: 200, since: '2.000000002' });
    const two = open(1, '2.000000002');
    two.write(event(2) + event(3));
    expect(await two.end()).toEqual({ status: 200, since: '3.000000002' });
    expect(await stored()).toBe([1, 2, 3].map(event).join(''));
  });

  it('is kept when it breaks off, and gives way when another upload was first', async () => {
    const one = open(1, '0');
    one.write(event(1));
    await until(async () => (await stored()) === event(1));
    const two = open(1, '1.000000002');
    two.write(event(2));
    await until(async () => (await stored()) === event(1) + event(2));
    one.write(event(2) + event(3));
    expect((await one.end()).status).toBe(503);
    two.write(event(3));
    expect(await two.end()).toEqual({ status: 200, since: '3.000000002' });
    const three = open(1, '3.000000002');
    three.write(event(4));
    await until(async () => ((await stored()) ?? '').endsWith(event(4)));
    // Within the second in which nothing is stored.
    await three.sent(event(5));
    three.breakOff();
    await until(async () => (await stored()) === [1, 2, 3, 4, 5].map(event).join(''));
  });

  it('is refused for who has no such order, whose attempt has ended, and once a newer one follows it', async () => {
    expect((await open(2, '0').end()).status).toBe(404);
    expect((await open(1, '0', 'f'.repeat(64)).end()).status).toBe(401);
    expect((await open(1, 'now').end()).status).toBe(400);
    await insertOrder(test.database, agent, 2, { ...STREAM, name: 'stats' });
    expect((await open(1, '0').end()).status).toBe(200);
    await insertOrder(test.database, agent, 3, STREAM);
    expect((await open(1, '0').end()).status).toBe(409);
    await test.database.query(`UPDATE attempts SET phase = 'ended', ended_at = clock_timestamp() WHERE id = $1`, [
      agent.attemptId,
    ]);
    expect((await open(3, '0').end()).status).toBe(410);
  });

  it('may have 8 MiB an upload, of which the newest 64 KiB are kept', async () => {
    const flood = open(1, '0');
    const lines = Array.from({ length: 2_000 }, (_, n) => event(n + 1)).join('');
    flood.write(lines);
    for (let sent = 0; sent < 9; sent += 1) flood.write('x'.repeat(1_048_576));
    expect((await flood.end()).status).toBe(413);
    const kept = (await stored()) ?? '';
    expect(kept.length).toBeLessThanOrEqual(65_536);
    expect(lines.endsWith(kept)).toBe(true);
  });

  function open(number: number, since: string, token = agent.token) {
    const outgoing = request(`${api.url}/agent/v1/orders/${number}/stream?since=${since}`, {
      method: 'POST',
      headers: { authorization: `Bearer ${token}`, 'content-type': 'application/octet-stream' },
    });
    const answer = new Promise<{ status: number; since: string | undefined }>((done, fail) => {
      outgoing.once('error', fail).once('response', (response) => {
        const { statusCode = 0, headers } = response;
        response.resume().once('end', () => done({ status: statusCode, since: headers['stream-since'] as string }));
      });
    });
    answer.catch(() => undefined);
    return {
      write: (text: string) => void outgoing.write(text),
      sent: (text: string) => new Promise((done) => outgoing.write(text, done)),
      end: async () => {
        outgoing.end();
        return await answer;
      },
      breakOff: () => void outgoing.destroy(),
    };
  }

  async function stored(): Promise<string | undefined> {
    const [row] = await test.database.query<{ content: string }>(
      `SELECT content FROM order_streams WHERE instance_id = $1`,
      [agent.instanceId],
    );
    return row?.content;
  }
});
