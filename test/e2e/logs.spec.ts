import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CreateBucketCommand } from '@aws-sdk/client-s3';
import { startTestCloud } from '../../local/cloud/test-support.ts';
import { ObjectStore } from '../../src/aws/s3.ts';
import { Signals } from '../../src/database/signals.ts';
import { DirectoryFolder } from '../../src/logs/directory-folder.ts';
import { S3Folder } from '../../src/logs/s3-folder.ts';
import { Sealer } from '../../src/logs/sealer.ts';
import { insertAgent, insertOrder } from '../support/agents.ts';
import { type Api, startApi } from '../support/api.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import { startDatabaseProxy } from '../support/database-proxy.ts';
import { EventSource } from '../support/event-source.ts';
import { followText, frame, openUpload, stampedAt } from '../support/logs.ts';

type Line = { deployment: number; attempt: number; stream: string; at: string; text: string };
type Page = { items: Line[]; nextCursor: string | null };

describe('the log of a job', () => {
  let test: TestDatabase;
  let logs: string;
  let one: Api;
  let other: Api;
  let job: Awaited<ReturnType<typeof insertAgent>> & { name: string; path: string };

  const start = () => startApi({ databaseUrl: test.url, env: { ROLE: 'api', LOGS_URI: logs } });

  beforeAll(async () => {
    test = await createTestDatabase();
    logs = await mkdtemp(join(tmpdir(), 'scheduler-logs-'));
    other = await start();
  });
  afterAll(async () => {
    await other.close();
    await test.close();
    await rm(logs, { recursive: true, force: true });
  });
  beforeEach(async () => {
    one = await start();
    const agent = await insertAgent(test.database);
    await insertOrder(test.database, agent, 1, { kind: 'logs', follow: true, timeoutSeconds: 60 });
    const [row] = await test.database.query<{ name: string }>('SELECT name FROM jobs WHERE id = $1', [agent.jobId]);
    job = { ...agent, name: row!.name, path: `/v1/jobs/${row!.name}/logs` };
  });
  afterEach(() => one.close());

  it('is shown on another replica within a second after a line came in, as text and as events', async () => {
    const text = await followText(`${other.url}${job.path}?follow=true`);
    const events = await EventSource.open(`${other.url}${job.path}?follow=true`);
    const upload = openUpload(one.url, job.token, 1);
    for (const n of [1, 2, 3]) {
      const startedAt = performance.now();
      upload.write(frame(1, `${stampedAt(n)} line ${n}\n`));
      const [event] = await Promise.all([events.next(), text.until(`line ${n}\n`)]);
      expect(performance.now() - startedAt).toBeLessThan(1_000);
      const data = { deployment: 1, attempt: 1, stream: 'stdout', at: stampedAt(n), text: `line ${n}` };
      expect({ ...event, data: JSON.parse(event!.data) as unknown }).toEqual({ id: `1.${n}`, event: 'line', data });
    }
    expect(await upload.end()).toMatchObject({ status: 200 });
    expect(text.received()).toBe('line 1\nline 2\nline 3\n');
    text.close();
    events.close();
  });

  it('is followed on through an outage of the database, on the same connection', async () => {
    const proxy = await startDatabaseProxy(test.url);
    const far = await startApi({ databaseUrl: proxy.url, env: { ROLE: 'api', LOGS_URI: logs } });
    try {
      const text = await followText(`${far.url}${job.path}?follow=true`);
      const events = await EventSource.open(`${far.url}${job.path}?follow=true`);
      const upload = openUpload(one.url, job.token, 1);
      upload.write(frame(1, `${stampedAt(1)} before\n`));
      await Promise.all([events.next(), text.until('before\n')]);

      proxy.cut();
      upload.write(frame(1, `${stampedAt(2)} meanwhile\n`));
      expect(await upload.end()).toMatchObject({ status: 200 });
      // Lets those who follow look, in vain.
      far.app.get(Signals, { strict: false }).linesStored();
      expect((await far.request('GET', job.path)).status).toBe(503);
      proxy.mend();
      const event = await Promise.race([events.next(), text.ended]);
      expect(JSON.parse(event?.data ?? 'null')).toMatchObject({ text: 'meanwhile' });
      await Promise.race([text.until('meanwhile\n'), text.ended]);
      expect(text.received()).toBe('before\nmeanwhile\n');
      text.close();
      events.close();
    } finally {
      await far.close();
      await proxy.close();
    }
  });

  it('loses and doubles nothing when an API process goes, for those who send it and for those who follow', async () => {
    let events = await EventSource.open(`${one.url}${job.path}?follow=true`);
    const upload = openUpload(one.url, job.token, 1);
    upload.write(...numbered(1, 500));
    const seen = await events.take(100);
    const answered = upload.answer;
    // While it serves both of them.
    await one.close();
    expect((await answered).status).toBe(503);
    for (let event = await events.next(); event; event = await events.next()) seen.push(event);
    expect(seen.map(({ event }) => event)).not.toContain('end');

    events = await EventSource.open(`${other.url}${job.path}?follow=true`, { lastEventId: seen.at(-1)!.id! });
    // What was not acknowledged comes again, from the beginning.
    const again = openUpload(other.url, job.token, 1, '0');
    again.write(...numbered(1, 1_000));
    expect(await again.end()).toMatchObject({ status: 200 });
    seen.push(...(await events.take(1_000 - seen.length)));
    events.close();
    expect(seen.map(({ data }) => (JSON.parse(data) as Line).text)).toEqual(names(1, 1_000));
  });

  it('keeps what came before an agent was killed, and has it once when the next one sends it again', async () => {
    const upload = openUpload(one.url, job.token, 1);
    const text = await followText(`${other.url}${job.path}?follow=true`);
    // Cut within a frame.
    upload.write(...numbered(1, 50), numbered(51, 51)[0]!.subarray(0, 20));
    await text.until('line 50\n');
    upload.breakOff();
    const again = openUpload(other.url, job.token, 1);
    again.write(...numbered(1, 100));
    await again.end();
    await text.until('line 100\n');
    expect(text.received()).toBe(
      names(1, 100)
        .map((name) => `${name}\n`)
        .join(''),
    );
    text.close();
  });

  it('takes two uploads at once on two replicas, and each line of theirs once', async () => {
    const uploads = [one, other].map((api) => openUpload(api.url, job.token, 1));
    for (let n = 1; n <= 400; n += 20) {
      for (const upload of uploads) upload.write(...numbered(n, n + 19));
      await new Promise((done) => setImmediate(done));
    }
    const answers = await Promise.all(uploads.map((upload) => upload.end()));
    expect(answers.map(({ status }) => status)).toEqual([200, 200]);
    expect(answers[0]!.since).toBe(answers[1]!.since);
    expect(await readText('')).toEqual(names(1, 400));
  });

  it('ends for who follows a deployment once that and all its attempts have, with the last line', async () => {
    const upload = openUpload(one.url, job.token, 1);
    const text = await followText(`${other.url}${job.path}?deployment=1&follow=true`);
    const events = await EventSource.open(`${other.url}${job.path}?deployment=1&follow=true`);
    const ofAttempt = await EventSource.open(`${other.url}${job.path}?deployment=1&attempt=1&follow=true`);
    upload.write(...numbered(1, 3));
    await upload.end();
    await text.until('line 3\n');
    await test.database.query(
      `UPDATE deployments SET status = 'stopped', ended_at = clock_timestamp() WHERE job_id = $1`,
      [job.jobId],
    );
    await test.database.query(`UPDATE attempts SET phase = 'ended', ended_at = clock_timestamp() WHERE id = $1`, [
      job.attemptId,
    ]);
    // Without a signal: it is the net that sees it.
    await text.ended;
    const endOf = async (source: EventSource) => (await source.take(4)).at(-1);
    expect(await endOf(events)).toMatchObject({ event: 'end', data: '{"reason":"deployment-ended"}' });
    expect(await endOf(ofAttempt)).toMatchObject({ event: 'end', data: '{"reason":"attempt-ended"}' });
    expect(await events.next()).toBeUndefined();
    expect(text.received()).toBe('line 1\nline 2\nline 3\n');
    const late = openUpload(one.url, job.token, 1);
    expect((await late.answer).status).toBe(410);
    late.breakOff();
  });

  it('goes on with the next deployment for who follows a job, and ends with the job', async () => {
    const events = await EventSource.open(`${other.url}${job.path}?follow=true`);
    await print(1, numbered(1, 1));
    const next = await nextDeployment();
    await print(2, numbered(2, 2));
    const lines = (await events.take(2)).map(({ data }) => JSON.parse(data) as Line);
    expect(lines.map(({ deployment, text }) => [deployment, text])).toEqual([
      [1, 'line 1'],
      [2, 'line 2'],
    ]);
    // The active deployment is what is shown without a word.
    await test.database.query('UPDATE jobs SET active_deployment_id = $1 WHERE id = $2', [next, job.jobId]);
    expect(await readText('')).toEqual(['line 2']);
    expect(await readText('?deployment=1')).toEqual(['line 1']);
    await test.database.query('UPDATE jobs SET deleted_at = clock_timestamp() WHERE id = $1', [job.jobId]);
    expect(await events.next()).toMatchObject({ event: 'end', data: '{"reason":"job-deleted"}' });
    expect((await one.request('GET', job.path)).status).toBe(404);
  });

  it('is read by tail, time and stream, also across what was sealed', async () => {
    const mixed = Array.from({ length: 3_000 }, (_, n) => frame(n % 10 === 0 ? 2 : 1, `${stampedAt(n)} line ${n}\n`));
    await print(1, mixed.slice(0, 2_500));
    await new Sealer(test.database, new DirectoryFolder(logs), { recentSeconds: 0 }).run();
    await print(1, mixed.slice(2_400));
    const ten = (from: number, step = 1) => Array.from({ length: 10 }, (_, n) => `line ${from + n * step}`);
    expect(await readText('')).toHaveLength(1_000);
    expect(await readText('?tail=10')).toEqual(ten(2_990));
    expect(await readText('?tail=0')).toEqual([]);
    expect(await readText('?tail=10000')).toHaveLength(3_000);
    expect(await readText('?tail=10&stream=stderr')).toEqual(ten(2_900, 10));
    expect(await readText(`?since=${stampedAt(2_990)}`)).toEqual(ten(2_990));
    expect(await readText(`?since=${stampedAt(20)}`)).toHaveLength(2_980);
    expect(await readText(`?since=${stampedAt(20)}&tail=10`)).toEqual(ten(2_990));
    expect(await readText(`?since=${stampedAt(2_490)}&stream=stderr&tail=3`)).toEqual([
      'line 2970',
      'line 2980',
      'line 2990',
    ]);
    expect(await readText('?tail=1&timestamps=true')).toEqual([`${stampedAt(2_999)} line 2999`]);
    expect(await readText('?attempt=2')).toEqual([]);
  });

  it('comes in pages as JSON', async () => {
    await print(1, numbered(1, 25));
    const texts: string[] = [];
    let cursor: string | null = '';
    for (let pages = 1; cursor !== null; pages += 1) {
      const query: string = cursor === '' ? '?limit=10' : `?limit=10&cursor=${cursor}`;
      const { status, body } = await one.request('GET', `${job.path}${query}`, {
        headers: { accept: 'application/json' },
      });
      expect(status).toBe(200);
      const page = body as Page;
      texts.push(...page.items.map(({ text }) => text));
      cursor = page.nextCursor;
      expect(pages).toBeLessThan(4);
    }
    expect(texts).toEqual(names(1, 25));
  });

  it.each([
    ['?deployment=7', 404, 'deployment-not-found', {}],
    ['?deployment=1&attempt=7', 404, 'attempt-not-found', {}],
    ['?tail=10001', 400, 'invalid-parameter', {}],
    ['?since=yesterday', 400, 'invalid-parameter', {}],
    ['?stream=stdin', 400, 'invalid-parameter', {}],
    ['?follow=yes', 400, 'invalid-parameter', {}],
    ['?color=red', 400, 'invalid-parameter', {}],
    ['?follow=true', 400, 'invalid-parameter', { accept: 'application/json' }],
    ['?cursor=1.1', 400, 'invalid-parameter', {}],
    ['?cursor=x', 400, 'invalid-parameter', { accept: 'application/json' }],
    ['?follow=true', 400, 'malformed-request', { accept: 'text/event-stream', 'last-event-id': 'x' }],
  ])('answers %s with %i %s', async (query, status, code, headers) => {
    const answer = await one.request('GET', `${job.path}${query}`, { headers });
    expect(answer.status).toBe(status);
    expect(answer.body).toMatchObject({ type: `/problems/${code}`, status });
  });

  it('answers a problem when older lines cannot be fetched, and who is not asked for them does not notice', async () => {
    await print(1, numbered(1, 2_000));
    await new Sealer(test.database, new DirectoryFolder(logs), { recentSeconds: 0 }).run();
    await print(1, numbered(1_990, 2_010));
    // A file where a directory was: whoever reads below it is told so.
    const broken = await startApi({ databaseUrl: test.url, env: { ROLE: 'api', LOGS_URI: '/dev/null' } });
    try {
      expect((await broken.request('GET', job.path)).body).toMatchObject({ type: '/problems/unavailable' });
      expect((await broken.request('GET', `${job.path}?tail=10`)).text).toBe(
        names(2_001, 2_010)
          .map((n) => `${n}\n`)
          .join(''),
      );
    } finally {
      await broken.close();
    }
  });

  it('says where lines are gone because their object was deleted, and shows the others', async () => {
    const cloud = await startTestCloud();
    await cloud.s3.send(new CreateBucketCommand({ Bucket: 'logs' }));
    // As the role that Terraform makes: S3 refuses it a key that is not there.
    cloud.cloud.faults.limitListing('logs', 'jobs/');
    const before = { ...process.env };
    Object.assign(process.env, cloud.cloud.clientEnvironment);
    const objects = new ObjectStore({ region: 'us-west-2', isPathStyle: true });
    const folder = new S3Folder(objects, 'logs', 'jobs/');
    const env = { ROLE: 'api', LOGS_URI: 's3://logs/jobs/', ...cloud.cloud.clientEnvironment };
    const reading = await startApi({ databaseUrl: test.url, env });
    const ask = async (query: string, accept = 'text/plain') =>
      await reading.request('GET', `${job.path}${query}`, { headers: { accept } });
    try {
      for (const first of [1, 501, 1_001]) {
        await print(1, numbered(Math.max(1, first - 100), first + 499));
        await new Sealer(test.database, folder, { recentSeconds: 0 }).run();
      }
      await print(1, numbered(1_400, 1_510));
      for await (const keys of folder.list(`${job.jobId}/`))
        await folder.delete(keys.filter((key) => key.includes('000501-')));

      const gone = '[scheduler: 500 lines are missing here, somebody deleted the object of LOGS_URI that held them]';
      const expected = [...names(1, 500), gone, ...names(1_001, 1_510)];
      const text = await ask('?tail=10000');
      expect([text.status, text.text.split('\n').slice(0, -1)]).toEqual([200, expected]);
      // The last lines are counted as they were: what is gone takes none of the others with it.
      expect((await ask('?tail=510')).text.split('\n').slice(0, -1)).toEqual(names(1_001, 1_510));
      expect((await ask('?tail=600')).text.split('\n').slice(0, -1)).toEqual([gone, ...names(1_001, 1_510)]);
      expect((await ask(`?since=${stampedAt(900)}`)).text.split('\n')[0]).toBe(gone);

      const items: Line[] = [];
      for (let cursor: string | null = ''; cursor !== null;) {
        const page = (
          await ask(cursor === '' ? '?tail=10000&limit=501' : `?limit=501&cursor=${cursor}`, 'application/json')
        ).body as Page;
        items.push(...page.items);
        cursor = page.nextCursor;
      }
      expect(items.map(({ text: each }) => each)).toEqual(expected);
      expect(items[500]).toEqual({ deployment: 1, attempt: 1, stream: 'stderr', at: stampedAt(1_000), text: gone });

      // What may not be read is not gone, and may come back.
      cloud.cloud.faults.denyAction('GetObject');
      expect((await ask('?tail=10000')).body).toMatchObject({ type: '/problems/unavailable', status: 503 });
    } finally {
      await reading.close();
      objects.close();
      process.env = before;
      await cloud.stop();
    }
  });

  async function print(deployment: number, frames: readonly Buffer[]): Promise<void> {
    const upload = openUpload(one.url, job.token, deployment, '1767000000');
    upload.write(...frames);
    expect(await upload.end()).toMatchObject({ status: 200 });
  }

  async function nextDeployment(): Promise<string> {
    const [row] = await test.database.query<{ id: string; attempt_id: string }>(
      `WITH deployment AS (
         INSERT INTO deployments (id, job_id, number, image, definition, trigger)
         VALUES (gen_random_uuid(), $1, 2, 'nginx', '{}', 'api') RETURNING id
       ), attempt AS (
         INSERT INTO attempts (id, job_id, deployment_id, number, shape_key, priority)
         SELECT gen_random_uuid(), $1, id, 1, 'k', 2 FROM deployment RETURNING id
       )
       SELECT deployment.id, attempt.id AS attempt_id FROM deployment, attempt`,
      [job.jobId],
    );
    const order = { instanceId: job.instanceId, attemptId: row!.attempt_id };
    await insertOrder(test.database, order, 2, { kind: 'logs', follow: true, timeoutSeconds: 60 });
    return row!.id;
  }

  async function readText(query: string): Promise<string[]> {
    const answer = await other.request('GET', `${job.path}${query}`);
    expect([answer.status, answer.headers.get('content-type')]).toEqual([200, 'text/plain; charset=utf-8']);
    return answer.text.split('\n').slice(0, -1);
  }

  function numbered(first: number, last: number): Buffer[] {
    return names(first, last).map((name, index) => frame(1, `${stampedAt(first + index)} ${name}\n`));
  }

  function names(first: number, last: number): string[] {
    return Array.from({ length: last - first + 1 }, (_, index) => `line ${first + index}`);
  }
});
