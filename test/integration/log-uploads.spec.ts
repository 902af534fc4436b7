import { Readable } from 'node:stream';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { CUT_MARK } from '../../src/docker/container-logs.ts';
import { Database } from '../../src/database/database.ts';
import { createDataSource } from '../../src/schema/data-source.ts';
import { LineWriter, linesStored } from '../../src/logs/line-writer.ts';
import { LogUpload } from '../../src/logs/log-upload.ts';
import { LogUploads } from '../../src/logs/log-uploads.ts';
import { findLogTarget } from '../../src/logs/upload-statements.ts';
import { Shutdown } from '../../src/process/shutdown.ts';
import { type Api, startApi } from '../support/api.ts';
import { insertAgent, insertOrder } from '../support/agents.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import { frame, openUpload, stampedAt } from '../support/logs.ts';

const LOGS = { kind: 'logs', follow: true, timeoutSeconds: 60 } as const;

describe('an upload of logs', () => {
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
    await insertOrder(test.database, agent, 1, LOGS);
  });

  it('is stored line by line, and answered with where the next one is to begin', async () => {
    const counted: object[] = [];
    const leave = linesStored.subscribe((count) => counted.push(count));
    const answer = await upload(1, '0', frame(1, `${stampedAt(5)} one\n`), frame(2, `${stampedAt(5, 7)} two\n`));
    expect(answer).toEqual({ status: 200, since: '1767607203.000000007' });
    const text = `${stampedAt(5)} 1.1 stdout one\n${stampedAt(5, 7)} 1.1 stderr two\n`;
    expect(await stored()).toBe(text);
    expect(await upload(1, answer.since!)).toEqual(answer);
    leave();
    expect(counted).toEqual([{ lines: 2, bytes: text.length }]);
  });

  it('keeps what is no text as well as text can, and cuts lines at 64 KiB', async () => {
    await upload(
      1,
      '0',
      frame(1, Buffer.concat([Buffer.from(`${stampedAt(1)} a`), Buffer.from([0, 255, 13]), Buffer.from('b\r\n')])),
      frame(1, `${stampedAt(2)} ${'x'.repeat(100_000)}\n`),
      frame(1, `${stampedAt(3)} \n`),
    );
    const lines = (await stored()).split('\n');
    expect(lines.map((line) => line.split(' stdout ')[1])).toEqual([
      'a\uFFFD\uFFFD\rb',
      `${'x'.repeat(65_536)}${CUT_MARK}`,
      '',
      undefined,
    ]);
  });

  it('of broken frames is stored up to there, and refused', async () => {
    const answer = await upload(1, '0', frame(1, `${stampedAt(1)} one\n`), Buffer.from('HTTP/1.1 500 Oh no\r\n'));
    expect(answer.status).toBe(400);
    expect(await stored()).toContain('stdout one\n');
  });

  it('of line ends and nothing else is read in pieces, and waits for room after each', async () => {
    let most = 0;
    const writer = {
      write: (upload: LogUpload) =>
        Promise.resolve(
          void ((most = Math.max(most, upload.pendingBytes - pendingBefore)), (pendingBefore = upload.pendingBytes)),
        ),
      flush: () => Promise.resolve(),
    };
    let pendingBefore = 0;
    const uploads = new LogUploads(test.database, writer as unknown as LineWriter, new Shutdown());
    const body = Readable.from([Buffer.concat([frame(1, `${stampedAt(1)} ${'\n'.repeat(500_000)}`)])]);
    await uploads.store(agent.instanceId, 1, '0', body);
    // A piece has 8 KiB, and a line counts for a hundred bytes besides its text.
    expect(most).toBeLessThanOrEqual(8_192 * 101);
  });

  it.each([
    ['an order that is none', 9, '0', 404],
    ['a place that is none', 1, 'yesterday', 400],
    ['an order to do something else', 2, '0', 404],
  ])('for %s is refused', async (_what, order, since, status) => {
    await insertOrder(test.database, agent, 2);
    expect((await upload(order, since, frame(1, `${stampedAt(1)} one\n`))).status).toBe(status);
    expect(await stored()).toBe('');
  });

  it('of an order that a newer one replaced is refused, but not that of one that asks for the rest', async () => {
    await insertOrder(test.database, agent, 2, { ...LOGS, follow: false });
    expect((await upload(1, '0', frame(1, `${stampedAt(1)} one\n`))).status).toBe(200);
    expect((await upload(2, '0', frame(1, `${stampedAt(1)} one\n`))).status).toBe(200);
    await insertOrder(test.database, agent, 3, LOGS);
    expect((await upload(1, '1767607202', frame(1, `${stampedAt(2)} two\n`))).status).toBe(409);
    expect((await upload(2, '1767607202', frame(1, `${stampedAt(2)} two\n`))).status).toBe(200);
    expect(await stored()).toBe(`${stampedAt(1)} 1.1 stdout one\n${stampedAt(2)} 1.1 stdout two\n`);
  });

  it('of another agent, of nobody, of another kind or without an end is refused', async () => {
    const { token } = await insertAgent(test.database);
    const sent = frame(1, `${stampedAt(1)} one\n`);
    expect((await uploadAs(token, sent)).status).toBe(404);
    expect((await uploadAs('f'.repeat(64), sent)).status).toBe(401);
    const json = await fetch(`${api.url}/agent/v1/orders/1/logs`, {
      method: 'POST',
      headers: { authorization: `Bearer ${agent.token}`, 'content-type': 'application/json' },
      body: '{}',
    });
    expect(json.status).toBe(415);
    const megabytes = Array.from({ length: 9 }, (_, n) => frame(1, `${stampedAt(n)} ${'x'.repeat(1_048_576)}\n`));
    expect((await upload(1, '0', ...megabytes)).status).toBe(413);
  });

  it('waits for its turn beside others of its attempt, in this process and in another, and nothing is lost or doubled', async () => {
    const dataSource = createDataSource({ url: test.url, poolSize: 2 });
    await dataSource.initialize();
    const databases = [test.database, new Database(dataSource)];
    const notified: string[][] = [];
    const signals = { linesStored: (jobIds: Iterable<string> = []) => void notified.push([...jobIds]) };
    const writers = databases.map((database) => new LineWriter(database, signals, 1));
    const uploads = await Promise.all(
      [0, 1, 0, 1].map(async (of) => ({
        writer: writers[of]!,
        upload: new LogUpload((await findLogTarget(databases[of]!, agent.instanceId, 1))!, '0'),
      })),
    );
    for (let n = 1; n <= 200; n += 1) {
      for (const [index, { writer, upload: one }] of uploads.entries()) {
        one.add(frame((1 + (n % 2)) as 1 | 2, `${stampedAt(n)} line ${n}\n`));
        // Each at a pace of its own.
        if (n % (index + 2) === 0) await writer.write(one);
      }
    }
    await Promise.all(uploads.map(({ writer, upload: one }) => writer.flush(one)));
    await dataSource.destroy();
    // Without a job it would wake the readers of all.
    expect(notified.every((jobIds) => jobIds[0] === agent.jobId)).toBe(true);
    const lines = (await stored()).split('\n').slice(0, -1);
    for (const stream of ['stdout', 'stderr']) {
      const texts = lines.filter((line) => line.includes(` ${stream} `)).map((line) => Number(line.split('line ')[1]));
      expect(texts).toEqual(Array.from({ length: 100 }, (_, n) => 2 * n + (stream === 'stderr' ? 1 : 2)));
    }
    expect(new Set(uploads.map(({ upload: one }) => one.nextSince(0))).size).toBe(1);
  });

  it('is not acknowledged while Postgres does not answer, and the flood of one does not hold up another', async () => {
    const failing = {
      run: () => Promise.reject(new Error('Postgres is away')),
    } as unknown as Database;
    const target = (await findLogTarget(test.database, agent.instanceId, 1))!;
    const lost = new LogUpload(target, '0');
    lost.add(frame(1, `${stampedAt(1)} one\n`));
    const writer = new LineWriter(failing, { linesStored: () => undefined });
    await writer.write(lost);
    await expect(writer.flush(lost)).rejects.toThrow('Postgres is away');

    const quiet = await insertAgent(test.database);
    await insertOrder(test.database, quiet, 1, LOGS);
    const flooding = await Promise.all([1, 2, 3].map(() => insertAgent(test.database)));
    await Promise.all(flooding.map((one) => insertOrder(test.database, one, 1, LOGS)));
    const floods = flooding.map(({ token }) => {
      const flood = openUpload(api.url, token, 1);
      for (let k = 0; k < 7; k += 1) flood.write(frame(1, `${stampedAt(k)} ${'x'.repeat(60_000)}\n`.repeat(16)));
      return flood;
    });
    const startedAt = performance.now();
    expect((await uploadAs(quiet.token, frame(1, `${stampedAt(1)} one\n`))).status).toBe(200);
    // A bound, no measure: on a busy machine the floods alone take seconds.
    expect(performance.now() - startedAt).toBeLessThan(20_000);
    const answers = await Promise.all(floods.map((flood) => flood.end()));
    expect(answers.map(({ status }) => status)).toEqual([200, 200, 200]);
  });

  async function upload(order: number, since: string, ...frames: readonly Buffer[]) {
    const sent = openUpload(api.url, agent.token, order, since);
    sent.write(...frames);
    return await sent.end();
  }

  async function uploadAs(token: string, bytes: Buffer) {
    const sent = openUpload(api.url, token, 1);
    sent.write(bytes);
    return await sent.end();
  }

  async function stored(): Promise<string> {
    const rows = await test.database.query<{ content: Buffer }>(
      'SELECT content FROM log_chunks WHERE job_id = $1 ORDER BY last_line',
      [agent.jobId],
    );
    return rows.map(({ content }) => content.toString()).join('');
  }
});
