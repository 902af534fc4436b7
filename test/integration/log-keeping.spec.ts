import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import type { ObjectFolder } from '../../src/logs/chunk-objects.ts';
import { DirectoryFolder } from '../../src/logs/directory-folder.ts';
import { LineWriter } from '../../src/logs/line-writer.ts';
import { LogReader } from '../../src/logs/log-reader.ts';
import { LogRetention } from '../../src/logs/log-retention.ts';
import { LogUpload } from '../../src/logs/log-upload.ts';
import { Sealer } from '../../src/logs/sealer.ts';
import { findLogTarget } from '../../src/logs/upload-statements.ts';
import { Retention } from '../../src/retention/retention.ts';
import { insertAgent, insertOrder } from '../support/agents.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import { frame, stampedAt } from '../support/logs.ts';

const EVERYTHING = { fromDeployment: 1, toDeployment: null, attempt: null, stream: null, since: null };

describe('the log of a job', () => {
  let test: TestDatabase;
  let root: string;
  let folder: ObjectFolder;
  let isAway: boolean;
  let agent: Awaited<ReturnType<typeof insertAgent>>;
  let printed: number;

  beforeAll(async () => {
    test = await createTestDatabase();
    root = await mkdtemp(join(tmpdir(), 'scheduler-logs-'));
    const directory = new DirectoryFolder(root);
    const unlessAway = <T>(work: () => Promise<T>) => (isAway ? Promise.reject(new Error('S3 is away')) : work());
    folder = {
      put: (key, bytes) => unlessAway(() => directory.put(key, bytes)),
      get: (key) => unlessAway(() => directory.get(key)),
      delete: (keys) => unlessAway(() => directory.delete(keys)),
      list: async function* (prefix) {
        if (isAway) throw new Error('S3 is away');
        yield* directory.list(prefix);
      },
    };
  });
  afterAll(async () => {
    await test.close();
    await rm(root, { recursive: true, force: true });
  });
  beforeEach(async () => {
    await test.database.query('DELETE FROM jobs');
    isAway = false;
    printed = 0;
    agent = await insertAgent(test.database);
    await insertOrder(test.database, agent, 1, { kind: 'logs', follow: true, timeoutSeconds: 60 });
  });

  it('moves into the object store by size, by age, and at the end of the last attempt; reading notices nothing', async () => {
    await print(2_000, 300);
    expect(await seal()).toMatchObject({ sealed: 1, failed: 0 });
    expect(await counts()).toEqual({ sealed: 1, recent: expect.any(Number), bytes: expect.any(Number) });
    await expectAll();

    await print(10);
    expect(await seal({ recentSeconds: 0 })).toMatchObject({ sealed: 1 });
    expect(await counts()).toMatchObject({ sealed: 2, recent: 0 });

    await print(1);
    expect(await seal({ endedSeconds: 0 })).toMatchObject({ sealed: 0 });
    await test.database.query(`UPDATE attempts SET phase = 'ended', ended_at = clock_timestamp()`);
    expect(await seal({ endedSeconds: 0 })).toMatchObject({ sealed: 1 });
    expect(await counts()).toMatchObject({ sealed: 3, recent: 0 });
    expect(await objects()).toHaveLength(3);
    await expectAll();
  });

  it('makes no object of a few lines only because others are sealed already', async () => {
    await print(2_000, 300);
    for (let run = 0; run < 5; run += 1) {
      await seal();
      await print(1);
    }
    expect(await objects()).toHaveLength(1);
    await expectAll();
  });

  it('joins small chunks in the database, so that few lines are not many rows', async () => {
    for (let round = 0; round < 70; round += 1) await print(2);
    expect(await counts()).toMatchObject({ recent: 70 });
    expect(await seal()).toMatchObject({ sealed: 0 });
    expect(await counts()).toMatchObject({ sealed: 0, recent: 1 });
    await expectAll();
  });

  it('is sealed by one process at a time, and loses nothing to a crash between any two steps', async () => {
    await print(500, 100);
    const uploaded: string[] = [];
    const dyingStore = {
      put: async (key: string, bytes: Uint8Array) => {
        await folder.put(key, bytes);
        uploaded.push(key);
        // Another one that looks now finds the job claimed.
        expect(await seal({ recentSeconds: 0 })).toMatchObject({ sealed: 0, failed: 0 });
        throw new Error('killed after the upload');
      },
    };
    const dying = new Sealer(test.database, dyingStore, { recentSeconds: 0 });
    expect(await dying.run()).toMatchObject({ failed: 1 });
    await expectAll();
    // More was printed since: the next object has another name, and the first is nobody's.
    await print(500, 100);
    await test.database.query('UPDATE job_logs SET sealing_until = NULL');
    expect(await seal({ recentSeconds: 0 })).toMatchObject({ sealed: 1 });
    await expectAll();
    expect(await objects()).toEqual(expect.arrayContaining(uploaded));
    expect(await objects()).toHaveLength(2);
    // It goes with the lines it held.
    await drop({ maxBytes: 0 });
    expect(await objects()).toEqual([]);
    expect(await counts()).toMatchObject({ sealed: 0, recent: 0, bytes: 0 });
  });

  it('gives way when its rows were changed while they were uploaded', async () => {
    await print(100, 100);
    const lateStore = {
      put: async (key: string, bytes: Uint8Array) => {
        await folder.put(key, bytes);
        await test.database.query('UPDATE job_logs SET sealing_until = NULL');
        await seal({ recentSeconds: 0 });
      },
    };
    const late = new Sealer(test.database, lateStore, { recentSeconds: 0 });
    expect(await late.run()).toMatchObject({ failed: 1 });
    expect(await counts()).toMatchObject({ sealed: 1, recent: 0 });
    expect(await objects()).toHaveLength(1);
    await expectAll();
  });

  it('stays in the database while the object store is away, within its limit', async () => {
    await print(1_000, 100);
    await seal({ recentSeconds: 0 });
    await print(1_000, 100);
    isAway = true;
    expect(await seal({ recentSeconds: 0 })).toMatchObject({ sealed: 0, failed: 1, error: new Error('S3 is away') });
    expect(await counts()).toMatchObject({ sealed: 1 });
    const { bytes } = await counts();
    expect(await drop({ maxBytes: Math.round(bytes / 4) })).toMatchObject({ failed: 1 });
    expect(await counts()).toMatchObject({ sealed: 1 });
    expect((await counts()).bytes).toBeLessThan(0.8 * bytes);
    isAway = false;
    await test.database.query('UPDATE job_logs SET sealing_until = NULL, dropping_until = NULL');
    expect(await drop({ maxBytes: Math.round(bytes / 4) })).toMatchObject({ failed: 0 });
    expect((await counts()).bytes).toBeLessThanOrEqual(bytes / 4);
    expect(await seal({ recentSeconds: 0 })).toMatchObject({ sealed: 1, failed: 0 });
    const left = await read();
    expect(left.at(-1)).toBe('line 2000');
    expect(left).toEqual(numbered(2000 - left.length + 1, 2000));
  });

  it('is tried with growing pauses while the object store refuses, one object at a time, and all go once it is back', async () => {
    for (let jobs = 1; jobs <= 6; jobs += 1) {
      if (jobs > 1) {
        agent = await insertAgent(test.database);
        await insertOrder(test.database, agent, 1, { kind: 'logs', follow: true, timeoutSeconds: 60 });
      }
      printed = 0;
      await print(10);
    }
    const tried: string[] = [];
    const objects = { put: (key: string, bytes: Uint8Array) => (tried.push(key), folder.put(key, bytes)) };
    const sealer = new Sealer(test.database, objects, { recentSeconds: 0 });
    isAway = true;
    // As many as are tried at once, and no more once one of them is refused.
    expect(await sealer.run()).toMatchObject({ sealed: 0, pauseMs: 15_000, error: new Error('S3 is away') });
    expect(tried.length).toBeLessThanOrEqual(4);
    for (const pause of [30, 60, 120, 240, 300, 300]) {
      tried.length = 0;
      await test.database.query(`UPDATE job_logs SET sealing_until = sealing_until - interval '300 seconds'`);
      expect(await sealer.run()).toMatchObject({ sealed: 0, failed: 1, pauseMs: pause * 1000 });
      expect(tried).toHaveLength(1);
    }
    isAway = false;
    await test.database.query(`UPDATE job_logs SET sealing_until = sealing_until - interval '300 seconds'`);
    expect(await sealer.run()).toMatchObject({ sealed: 1, failed: 0, pauseMs: 0 });
    expect(await sealer.run()).toMatchObject({ sealed: 5, failed: 0, pauseMs: 5_000 });
    expect(await test.database.query('SELECT 1 FROM job_logs WHERE recent_chunks > 0')).toEqual([]);
  });

  it('loses its oldest lines by age and by size, objects with their rows', async () => {
    await print(2_000, 100);
    await seal({ recentSeconds: 0 });
    await test.database.query(`UPDATE log_chunks SET stored_at = clock_timestamp() - interval '20 days'`);
    await print(50, 100);
    expect(await drop({ days: 30 })).toMatchObject({ jobs: 0 });
    expect(await drop({ days: 14 })).toMatchObject({ jobs: 1, failed: 0 });
    expect(await read()).toEqual(numbered(2_001, 2_050));
    expect(await objects()).toEqual([]);
  });

  it('goes with its job once that is deleted for long enough, and not before', async () => {
    await print(100);
    await seal({ recentSeconds: 0 });
    await print(1);
    await test.database.query(`UPDATE jobs SET deleted_at = clock_timestamp() - interval '20 days'`);
    await drop({ deletedJobDays: 30 });
    await new Retention(test.database, 14).run();
    expect(await objects()).toHaveLength(1);
    expect(await test.database.query('SELECT 1 FROM jobs')).toHaveLength(1);
    isAway = true;
    expect(await drop({ deletedJobDays: 14 })).toMatchObject({ failed: 1 });
    expect(await test.database.query('SELECT 1 FROM job_logs')).toHaveLength(1);
    isAway = false;
    await test.database.query('UPDATE job_logs SET dropping_until = NULL');
    await drop({ deletedJobDays: 14 });
    await new Retention(test.database, 14).run();
    expect(await objects()).toEqual([]);
    expect(await test.database.query('SELECT 1 FROM jobs')).toEqual([]);
  });

  it('is asked once a run to delete objects while the object store refuses; rows of all jobs go meanwhile', async () => {
    for (let jobs = 1; jobs <= 3; jobs += 1) {
      if (jobs > 1) {
        agent = await insertAgent(test.database);
        await insertOrder(test.database, agent, 1, { kind: 'logs', follow: true, timeoutSeconds: 60 });
      }
      printed = 0;
      await print(10);
    }
    let asked = 0;
    const objects = { ...folder, list: (prefix: string) => ((asked += 1), folder.list(prefix)) };
    const retention = new LogRetention(test.database, objects, { maxBytes: 0, retentionDays: 365 }, 365);
    isAway = true;
    expect(await retention.run()).toMatchObject({ failed: 3, error: new Error('S3 is away') });
    expect(asked).toBe(1);
    expect(await test.database.query('SELECT 1 FROM log_chunks')).toEqual([]);
  });

  it('is read without a break while it is being sealed', async () => {
    await print(8_000, 200);
    const reader = new LogReader(test.database, folder);
    const seen: string[] = [];
    for (let after = 0; ;) {
      const { batches, isEmpty } = await reader.next(agent.jobId, after, EVERYTHING, null);
      if (isEmpty) break;
      for await (const { lines, through } of batches) {
        seen.push(...lines.map(({ text }) => text.trim()));
        after = through;
        if ((await counts()).sealed === 0 && seen.length > 1_500) await seal({ recentSeconds: 0 });
      }
    }
    expect((await counts()).sealed).toBeGreaterThan(1);
    expect(seen).toEqual(numbered(1, 8_000));
  });

  it('finds where its last lines begin without reading it', async () => {
    await print(3_000, 200);
    await seal({ recentSeconds: 0 });
    await print(10);
    let reads = 0;
    const reader = new LogReader(test.database, { ...folder, get: (key) => ((reads += 1), folder.get(key)) });
    const start = (count: number | null, filter: object = {}) =>
      reader.findStart(agent.jobId, 3_010, { ...EVERYTHING, ...filter }, count);
    expect(await start(0)).toEqual({ after: 3_010, skip: 0 });
    const { after, skip } = await start(15);
    expect(after + skip).toBe(2_995);
    expect(await start(null)).toEqual({ after: 0, skip: 0 });
    expect(await start(10_000)).toEqual({ after: 0, skip: 0 });
    expect(await start(5, { stream: 'stderr' })).toEqual({ after: 3_010, skip: 0 });
    expect(await start(5, { fromDeployment: 2 })).toEqual({ after: 3_010, skip: 0 });
    expect(reads).toBe(0);
    // Of times only what a chunk spans is known.
    const late = await start(2, { since: stampedAt(2_990) });
    expect(late.after + late.skip).toBe(3_008);
    expect(reads).toBe(0);
    const early = await start(null, { since: stampedAt(100) });
    expect(early.after).toBe(0);
    expect(reads).toBe(1);
  });

  async function print(lines: number, width = 0): Promise<void> {
    const since = `${Date.parse(stampedAt(printed + 1)) / 1000}`;
    const upload = new LogUpload((await findLogTarget(test.database, agent.instanceId, 1))!, since);
    const writer = new LineWriter(test.database, { linesStored: () => undefined }, 0);
    for (let n = 0; n < lines; n += 1) {
      printed += 1;
      upload.add(frame(1, `${stampedAt(printed)} ${`line ${printed}`.padEnd(width)}\n`));
    }
    await writer.flush(upload);
  }

  async function seal(options: { recentSeconds?: number; endedSeconds?: number } = {}) {
    return await new Sealer(test.database, folder, { recentSeconds: 3_600, ...options }).run();
  }

  async function drop(options: { maxBytes?: number; days?: number; deletedJobDays?: number }) {
    const { maxBytes = 1e12, days: retentionDays = 365, deletedJobDays = 365 } = options;
    const outcome = await new LogRetention(test.database, folder, { maxBytes, retentionDays }, deletedJobDays).run();
    await test.database.query('UPDATE job_logs SET dropping_until = NULL');
    return outcome;
  }

  async function read(): Promise<string[]> {
    const reader = new LogReader(test.database, folder);
    const seen: string[] = [];
    for (let after = 0; ;) {
      const { batches, isEmpty } = await reader.next(agent.jobId, after, EVERYTHING, null);
      if (isEmpty) return seen;
      for await (const { lines, through } of batches) {
        seen.push(...lines.map(({ text }) => text.trim()));
        after = through;
      }
    }
  }

  async function expectAll(): Promise<void> {
    expect(await read()).toEqual(numbered(1, printed));
  }

  function numbered(first: number, last: number): string[] {
    return Array.from({ length: last - first + 1 }, (_, index) => `line ${first + index}`);
  }

  /** As the rows are, and as the job's row says they are. */
  async function counts(): Promise<{ sealed: number; recent: number; bytes: number }> {
    const [row] = await test.database.query<{ sealed: number; recent: number; bytes: number; told: object }>(
      `SELECT count(*) FILTER (WHERE content IS NULL)::int AS sealed, count(content)::int AS recent,
         COALESCE(sum(bytes), 0)::int AS bytes, COALESCE(sum(bytes) FILTER (WHERE content IS NOT NULL), 0)::int AS recent_bytes,
         (SELECT jsonb_build_object('bytes', bytes, 'recent', recent_chunks) FROM job_logs WHERE job_id = $1) AS told
       FROM log_chunks WHERE job_id = $1`,
      [agent.jobId],
    );
    const { sealed, recent, bytes, told } = row!;
    expect(told).toEqual({ bytes, recent });
    return { sealed, recent, bytes };
  }

  async function objects(): Promise<string[]> {
    const names = await readdir(root, { recursive: true });
    return names.filter((name) => name.startsWith(`${agent.jobId}/`)).toSorted();
  }
});
