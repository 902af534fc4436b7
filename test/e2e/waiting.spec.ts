import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { Database } from '../../src/database/database.ts';
import { ChangeWaiter } from '../../src/jobs/change-waiter.ts';
import type { JobStatus } from '../../src/jobs/job-status.ts';
import type { JobResponse } from '../../src/jobs/job.schema.ts';
import { type Api, startApi } from '../support/api.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';

describe('waiting for a job, on two replicas', () => {
  let test: TestDatabase;
  let replicas: readonly Api[];
  let names = 0;

  beforeAll(async () => {
    test = await createTestDatabase();
    replicas = await Promise.all([0, 1].map(() => startApi({ databaseUrl: test.url, env: { ROLE: 'api' } })));
  });
  afterAll(async () => {
    await Promise.all(replicas.map((api) => api.close()));
    await test.close();
  });

  const newJob = async (): Promise<string> => {
    const name = `job-${(names += 1)}`;
    await replicas[0]!.request('POST', '/v1/jobs', { body: { name, image: 'app:1' } });
    return name;
  };
  /** Stands in for the job pass of a third process. */
  const pass = async (name: string, status: JobStatus): Promise<void> => {
    const [row] = await test.database.query<{ id: string }>(
      `UPDATE jobs SET status = $2 WHERE name = $1 RETURNING id`,
      [name, status],
    );
    test.signals.jobsChanged([row!.id]);
  };
  const wait = (name: string, until: string) =>
    replicas.map(async (api) => {
      const { status, body } = await api.request('GET', `/v1/jobs/${name}?wait=30&until=${until}`);
      return [status, (body as JobResponse).status];
    });
  /** Until that many requests wait on each of them; Jest's own limit ends it. */
  const parked = async (count: number): Promise<void> => {
    const isParked = (api: Api) => api.app.get(ChangeWaiter, { strict: false }).size === count;
    while (!replicas.every(isParked)) await sleep(2);
  };

  it.each<[string, readonly JobStatus[], JobStatus]>([
    ['settled', ['deleting'], 'failed'],
    ['running', ['degraded', 'deploying'], 'running'],
    ['running', ['degraded'], 'failed'],
    ['stopped', ['running', 'degraded'], 'stopped'],
    ['stopped', ['running'], 'idle'],
  ])('until=%s goes on through %j and is over with %s', async (until, passing, last) => {
    const name = await newJob();
    const answers = wait(name, until);
    await parked(1);
    for (const status of passing) {
      await pass(name, status);
      await parked(1);
    }
    await pass(name, last);
    expect(await Promise.all(answers)).toEqual([
      [200, last],
      [200, last],
    ]);
    // Asked again it is answered at once.
    expect(await Promise.all(wait(name, until))).toEqual([
      [200, last],
      [200, last],
    ]);
  });

  it('asks the database when it is told of a change, and never in between', async () => {
    const name = await newJob();
    // Counted once they are answered: a look that has only begun may see the next change already, and end the wait.
    let asked = 0;
    let answered = 0;
    for (const { app } of replicas) {
      const database = app.get(Database);
      const run = database.run.bind(database);
      database.run = async (statement, values) => {
        if (statement.name !== 'get-job') return run(statement, values);
        asked += 1;
        try {
          return await run(statement, values);
        } finally {
          answered += 1;
        }
      };
    }
    const answers = wait(name, 'running');
    await parked(1);
    while (answered < asked) await sleep(2);
    const before = answered;
    expect(before).toBeGreaterThan(0);
    await sleep(1_500);
    expect(asked).toBe(before);
    await pass(name, 'degraded');
    while (answered < before + 2) await sleep(2);
    await pass(name, 'running');
    await Promise.all(answers);
    expect(asked).toBe(before + 4);
  });
});
