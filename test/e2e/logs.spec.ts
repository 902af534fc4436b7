import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { insertAgent, insertOrder } from '../support/agents.js';
import { type Api, startApi } from '../support/api.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { frame, openUpload, stampedAt } from '../support/logs.js';

describe('the log of a job', () => {
  let test: TestDatabase;
  let one: Api;
  let other: Api;

  beforeAll(async () => {
    test = await createTestDatabase();
    [one, other] = (await Promise.all([1, 2].map(() => startApi({ databaseUrl: test.url, env: { ROLE: 'api' } })))) as [
      Api,
      Api,
    ];
  });
  afterAll(async () => {
    await Promise.all([one.close(), other.close()]);
    await test.close();
  });

  it('is shown on another replica within a second after a line came in, as text and as events', async () => {
    const job = await newJob();
    const text = follow(other, `${job.path}?follow=true`, 'text/plain');
    const events = follow(other, `${job.path}?follow=true`, 'text/event-stream');
    expect((await text.opened).status).toBe(200);
    await events.opened;
    const upload = openUpload(one.url, job.token, 1);
    for (const n of [1, 2, 3]) {
      const startedAt = performance.now();
      upload.write(frame(1, `${stampedAt(n)} line ${n}\n`));
      await Promise.all([text.until(`line ${n}\n`), events.until(`"text":"line ${n}"`)]);
      expect(performance.now() - startedAt).toBeLessThan(1_000);
    }
    expect(await upload.end()).toMatchObject({ status: 200 });
    expect(text.received()).toBe('line 1\nline 2\nline 3\n');
    text.leave();
    events.leave();
  });

  async function newJob() {
    const agent = await insertAgent(test.database);
    await insertOrder(test.database, agent, 1, { kind: 'logs', follow: true, timeoutSeconds: 60 } as never);
    const [row] = await test.database.query<{ name: string }>('SELECT name FROM jobs WHERE id = $1', [agent.jobId]);
    return { ...agent, name: row!.name, path: `/v1/jobs/${row!.name}/logs` };
  }

  function follow(api: Api, path: string, accept: string, headers: Record<string, string> = {}) {
    const controller = new AbortController();
    let received = '';
    let look: () => void = () => undefined;
    const opened = fetch(`${api.url}${path}`, { headers: { accept, ...headers }, signal: controller.signal });
    const ended = opened.then(async (response) => {
      for await (const bytes of response.body ?? []) {
        received += new TextDecoder().decode(bytes as Uint8Array);
        look();
      }
    });
    ended.catch(() => undefined);
    return {
      opened,
      ended,
      received: () => received,
      leave: () => controller.abort(),
      until: async (part: string) => {
        while (!received.includes(part)) await new Promise<void>((done) => (look = done));
      },
    };
  }
});
