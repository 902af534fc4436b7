import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { startApi, type Api } from '../support/api.js';
import { insertAgent, insertOrder } from '../support/agents.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { frame, stampedAt } from '../support/logs.js';

describe('an upload of logs', () => {
  let test: TestDatabase;
  let api: Api;
  let agent: Awaited<ReturnType<typeof insertAgent>>;

  beforeAll(async () => {
    test = await createTestDatabase();
    api = await startApi({ databaseUrl: test.url });
    agent = await insertAgent(test.database);
    await insertOrder(test.database, agent, 1, { kind: 'logs', follow: true, timeoutSeconds: 60 } as never);
  });
  afterAll(async () => {
    await api.close();
    await test.close();
  });

  it('is stored line by line, and answered with where the next one is to begin', async () => {
    const body = Buffer.concat([frame(1, `${stampedAt(5)} one\n`), frame(2, `${stampedAt(5, 7)} two\n`)]);
    const first = await upload(1, '0', body);
    expect([first.status, first.headers.get('logs-since')]).toEqual([200, '1767607203.000000007']);
    expect(await stored()).toBe(`${stampedAt(5)} 1.1 stdout one\n${stampedAt(5, 7)} 1.1 stderr two\n`);
  });

  async function upload(number: number, since: string, body: Buffer): Promise<Response> {
    return await fetch(`${api.url}/agent/v1/orders/${number}/logs?since=${since}`, {
      method: 'POST',
      headers: { authorization: `Bearer ${agent.token}`, 'content-type': 'application/vnd.docker.multiplexed-stream' },
      body: new Uint8Array(body),
    });
  }

  async function stored(): Promise<string> {
    const rows = await test.database.query<{ content: Buffer }>(
      'SELECT content FROM log_chunks WHERE job_id = $1 ORDER BY last_line',
      [agent.jobId],
    );
    return rows.map(({ content }) => content.toString()).join('');
  }
});
