import { once } from 'node:events';
import { get, type IncomingMessage } from 'node:http';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { LineWriter } from '../../src/logs/line-writer.ts';
import { LogUpload } from '../../src/logs/log-upload.ts';
import { retryWhileUnavailable } from '../../src/logs/retry-while-unavailable.ts';
import { findLogTarget } from '../../src/logs/upload-statements.ts';
import { insertAgent, insertOrder } from '../support/agents.ts';
import { type Api, startApi } from '../support/api.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import { frame, stampedAt } from '../support/logs.ts';

const LINES = 24_000;
const LINE_BYTES = 1_000;
const FOLLOWERS = 40;

describe('followers who do not read', () => {
  let test: TestDatabase;
  let api: Api;
  const answers: IncomingMessage[] = [];

  beforeAll(async () => {
    test = await createTestDatabase();
    api = await startApi({ databaseUrl: test.url, env: { ROLE: 'api' } });
  });
  afterAll(async () => {
    for (const answer of answers) answer.destroy();
    await api.close();
    await test.close();
  });

  it('hold no memory while the container floods its log, and find every line when they go on', async () => {
    const agent = await insertAgent(test.database);
    await insertOrder(test.database, agent, 1, { kind: 'logs', follow: true, timeoutSeconds: 60 });
    const upload = new LogUpload((await findLogTarget(test.database, agent.instanceId, 1))!, '0');
    const writer = new LineWriter(test.database, test.signals, 0);
    const [job] = await test.database.query<{ name: string }>('SELECT name FROM jobs');
    for (let n = 0; n < FOLLOWERS; n += 1) {
      answers.push(await follow(`/v1/jobs/${job!.name}/logs?follow=true`, n % 2 ? 'text/plain' : 'text/event-stream'));
    }
    const reading = await follow(`/v1/jobs/${job!.name}/logs?follow=true`, 'text/plain');
    answers.push(reading);
    const all = readLines(reading);

    // As an agent does, whose upload is refused while the database has no connection left for five seconds.
    const sendAgain = (send: () => Promise<void>) => retryWhileUnavailable(send, new AbortController().signal);
    const before = process.memoryUsage.rss();
    for (let n = 1; n <= LINES; n += 1) {
      upload.add(frame(1, `${stampedAt(n)} ${String(n).padEnd(LINE_BYTES, 'x')}\n`));
      if (n % 50 === 0) await sendAgain(() => writer.write(upload));
    }
    await sendAgain(() => writer.flush(upload));
    // By the time one has all of it, the others have had their chance.
    expect(await all).toEqual(numbers());
    const grownMiB = (process.memoryUsage.rss() - before) / 1_048_576;
    // Held for each of them it would be forty times 24 MB. What is there is of the flood, and of this test, too.
    expect(grownMiB).toBeLessThan(400);
    expect(await readLines(answers[1]!)).toEqual(numbers());
    // A bound, no measure: 20 s alone, more than a minute where other tests took most of the machine.
  }, 180_000);

  async function follow(path: string, accept: string): Promise<IncomingMessage> {
    const request = get(`${api.url}${path}`, { agent: false, headers: { accept } });
    const [answer] = (await once(request, 'response')) as [IncomingMessage];
    return answer;
  }

  async function readLines(answer: IncomingMessage): Promise<number[]> {
    const seen: number[] = [];
    let rest = '';
    for await (const text of answer.setEncoding('utf8') as AsyncIterable<string>) {
      const lines = (rest + text).split('\n');
      rest = lines.pop() ?? '';
      seen.push(...lines.map((line) => Number.parseInt(line, 10)));
      if (seen.length >= LINES) break;
    }
    return seen;
  }

  function numbers(): number[] {
    return Array.from({ length: LINES }, (_, index) => index + 1);
  }
});
