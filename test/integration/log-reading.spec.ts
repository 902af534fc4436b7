import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { createRandom } from '../../local/cloud/random.ts';
import { chunkKey, type ObjectFolder, packChunk } from '../../src/logs/chunk-objects.ts';
import { formatLine, type LogLine } from '../../src/logs/line-format.ts';
import { LogReader } from '../../src/logs/log-reader.ts';
import { parseCursor, ReadLogs } from '../../src/logs/log.schema.ts';
import { LogWaiter } from '../../src/logs/log-waiter.ts';
import { LogsService } from '../../src/logs/logs.service.ts';
import { Shutdown } from '../../src/process/shutdown.ts';
import { insertAgent } from '../support/agents.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';

const LINES = 2_400;
const NEVER = new AbortController().signal;

describe('reading the log of a job', () => {
  const random = createRandom(3);
  const pick = <T>(...from: readonly T[]): T => from[random.between(0, from.length - 1)]!;
  const lines: LogLine[] = [];
  const objects = new Map<string, Uint8Array>();
  let test: TestDatabase;
  let logs: LogsService;
  let name: string;

  /** Two attempts of each of three deployments, one after the other; of two lines some have the same time. */
  beforeAll(async () => {
    test = await createTestDatabase();
    const { jobId } = await insertAgent(test.database);
    const [job] = await test.database.query<{ name: string }>('SELECT name FROM jobs WHERE id = $1', [jobId]);
    name = job!.name;
    let ms = Date.parse('2026-01-01T00:00:00Z');
    for (let n = 0; n < LINES; n += 1) {
      const attempt = 1 + Math.floor((6 * n) / LINES);
      ms += random.between(0, 2);
      lines.push({
        deployment: Math.ceil(attempt / 2),
        attempt: 2 - (attempt % 2),
        stream: pick('stdout', 'stderr'),
        at: `${new Date(ms).toISOString().slice(0, -1)}000000Z`,
        text: `${n} ${'é'.repeat(random.between(0, 40))}`,
      });
    }
    await test.database.query(
      `INSERT INTO deployments (id, job_id, number, image, definition, trigger, status)
       SELECT gen_random_uuid(), $1, n, 'nginx', '{}', 'api', 'active' FROM generate_series(2, 3) n`,
      [jobId],
    );
    await test.database.query(
      `INSERT INTO attempts (id, job_id, deployment_id, number, shape_key, priority)
       SELECT gen_random_uuid(), d.job_id, d.id, n, 'shape', 2 FROM deployments d, generate_series(1, 2) n
       WHERE d.job_id = $1 AND (d.number > 1 OR n > 1)`,
      [jobId],
    );
    await test.database.query('INSERT INTO job_logs (job_id, last_line) VALUES ($1, $2)', [jobId, LINES]);
    await test.database.query(
      `UPDATE jobs SET active_deployment_id = (SELECT id FROM deployments WHERE job_id = $1 AND number = 2) WHERE id = $1`,
      [jobId],
    );
    for (let from = 0; from < LINES;) {
      const to = Math.min(LINES, from + pick(1, 3, 40, 600));
      await insertChunk(jobId, from, lines.slice(from, to), random.fraction() < 0.5);
      from = to;
    }
    const folder: Pick<ObjectFolder, 'get'> = { get: (key) => Promise.resolve(objects.get(key)) };
    const waiter = new LogWaiter(test.database, test.signals, new Shutdown());
    logs = new LogsService(test.database, new LogReader(test.database, folder as ObjectFolder), waiter);
  }, 60_000);
  afterAll(() => test.close());

  async function insertChunk(jobId: string, from: number, some: readonly LogLine[], isSealed: boolean): Promise<void> {
    const to = from + some.length;
    const content = Buffer.from(some.map(formatLine).join(''));
    const counts: Record<string, [number, number]> = {};
    for (const { deployment, attempt, stream } of some) {
      const count = (counts[`${deployment}.${attempt}`] ??= [0, 0]);
      count[stream === 'stdout' ? 0 : 1] += 1;
    }
    const range = { jobId, firstLine: from + 1, lastLine: to };
    if (isSealed) objects.set(chunkKey(range), await packChunk(content));
    await test.database.query(
      `INSERT INTO log_chunks (job_id, first_line, last_line, bytes, first_at, last_at, counts, content)
       VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
      [jobId, from + 1, to, content.length, some[0]!.at, some.at(-1)!.at, counts, isSealed ? null : content],
    );
  }

  it('shows, page by page, the lines that were asked for, each once and in their order, wherever they are', async () => {
    for (let round = 0; round < 80; round += 1) {
      const deployment = pick(undefined, 1, 2, 3);
      const since = pick(undefined, undefined, lines[random.between(0, LINES - 1)]!.at);
      const given = {
        ...(deployment !== undefined && { deployment: String(deployment) }),
        ...(random.fraction() < 0.3 && { attempt: pick('1', '2') }),
        ...(random.fraction() < 0.3 && { stream: pick('stdout', 'stderr') }),
        ...(since !== undefined && { since }),
        ...(random.fraction() < 0.6 && { tail: pick('0', '1', '7', '300', '5000') }),
        limit: pick('90', '700', '1000'),
      };
      const query = ReadLogs.parse(given);
      // Without a deployment: the active one.
      const wanted = lines.filter(
        (line) =>
          line.deployment === (deployment ?? 2) &&
          (query.attempt === undefined || line.attempt === query.attempt) &&
          (query.stream === undefined || line.stream === query.stream) &&
          (query.since === undefined || line.at >= query.since),
      );
      const tail = query.tail ?? (query.since === undefined ? 1_000 : Infinity);
      const expected = tail === 0 ? [] : wanted.slice(-tail);
      const seen: object[] = [];
      let cursor: string | null = null;
      do {
        const log = await logs.open(name, query, cursor === null ? undefined : parseCursor(cursor));
        const page = await logs.readPage(log, query.limit, NEVER);
        expect(page.items.length).toBeLessThanOrEqual(query.limit);
        seen.push(...page.items);
        cursor = page.nextCursor;
      } while (cursor !== null);
      expect([given, seen.length]).toEqual([given, expected.length]);
      expect(seen).toEqual(expected);
    }
  }, 60_000);

  it('ends a page with the line that passes 1 MiB, and goes on behind it', async () => {
    const { jobId } = await insertAgent(test.database);
    const [job] = await test.database.query<{ name: string }>('SELECT name FROM jobs WHERE id = $1', [jobId]);
    const long = Array.from({ length: 5 }, (_, n) => ({ ...lines[0]!, text: `${n} ${'x'.repeat(400_000)}` }));
    await test.database.query('INSERT INTO job_logs (job_id, last_line) VALUES ($1, $2)', [jobId, long.length]);
    await insertChunk(jobId, 0, long, false);
    const query = ReadLogs.parse({ deployment: '1' });
    const page = await logs.readPage(await logs.open(job!.name, query, undefined), query.limit, NEVER);
    expect(page.items.map(({ text }) => text[0])).toEqual(['0', '1', '2']);
    const rest = await logs.open(job!.name, query, parseCursor(page.nextCursor ?? ''));
    expect((await logs.readPage(rest, query.limit, NEVER)).items.map(({ text }) => text[0])).toEqual(['3', '4']);
  });

  it('has what was asked for, or says what there is not', async () => {
    const open = (query: object) => logs.open(name, ReadLogs.parse(query), undefined);
    await expect(logs.open('nowhere', ReadLogs.parse({}), undefined)).rejects.toMatchObject({ code: 'job-not-found' });
    await expect(open({ deployment: '4' })).rejects.toMatchObject({ code: 'deployment-not-found' });
    await expect(open({ deployment: '3', attempt: '3' })).rejects.toMatchObject({ code: 'attempt-not-found' });
    expect(await open({ deployment: '3', attempt: '2' })).toMatchObject({ followed: { deployment: 3, attempt: 2 } });
    // Of the active deployment on, as more of them come.
    expect(await open({ follow: 'true' })).toMatchObject({
      followed: null,
      filter: { fromDeployment: 2, toDeployment: null },
    });
  });
});
