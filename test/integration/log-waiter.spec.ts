import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { LogWaiter } from '../../src/logs/log-waiter.ts';
import { Shutdown } from '../../src/process/shutdown.ts';
import { insertAgent } from '../support/agents.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import { until } from '../../local/until.ts';

const MINUTE_MS = 60_000;

describe('who waits for a log', () => {
  let test: TestDatabase;
  let waiter: LogWaiter;
  beforeAll(async () => {
    test = await createTestDatabase();
    waiter = new LogWaiter(test.database, test.signals, new Shutdown());
    waiter.onApplicationBootstrap();
  });
  afterAll(async () => {
    waiter.onApplicationShutdown();
    await test.close();
  });

  it('looks again where the signal was lost: after a line, the end of an attempt, the end of the job’s row', async () => {
    const [lines, end, row] = await Promise.all([1, 2, 3].map(() => insertAgent(test.database)));
    const looks = new Map<string, number>();
    const signal = new AbortController().signal;
    const isDone = new Set<string>();
    const jobIds = [lines!, end!, row!].map(({ jobId }) => jobId);
    const waited = jobIds.map((jobId) =>
      waiter.wait(jobId, MINUTE_MS, signal, () => {
        looks.set(jobId, (looks.get(jobId) ?? 0) + 1);
        return Promise.resolve(isDone.has(jobId));
      }),
    );
    // The first query finds all of them new; from then on only what changes is looked at.
    await until(() => Promise.resolve(jobIds.every((jobId) => (looks.get(jobId) ?? 0) > 1)), 10_000);
    const before = new Map(looks);
    const { jobId } = lines!;
    isDone.add(jobId);
    await test.database.query('INSERT INTO job_logs (job_id, last_line) VALUES ($1, 1)', [jobId]);
    await waited[0];
    expect(jobIds.slice(1).map((id) => looks.get(id))).toEqual(jobIds.slice(1).map((id) => before.get(id)));
    for (const id of jobIds) isDone.add(id);
    await test.database.query(`UPDATE attempts SET phase = 'ended' WHERE id = $1`, [end!.attemptId]);
    await test.database.query('DELETE FROM assignments WHERE attempt_id = $1', [row!.attemptId]);
    await test.database.query('DELETE FROM attempts WHERE job_id = $1', [row!.jobId]);
    await test.database.query('DELETE FROM deployments WHERE job_id = $1', [row!.jobId]);
    await test.database.query('DELETE FROM jobs WHERE id = $1', [row!.jobId]);
    await Promise.all(waited);
    expect(waiter.size).toBe(0);
  }, 30_000);
});
