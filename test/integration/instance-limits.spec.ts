import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { checkInstances } from '../../src/deployments/instance-limits.js';
import { insertAgent } from '../support/agents.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';

describe('the ceiling of instances of a scope', () => {
  let test: TestDatabase;
  beforeAll(async () => {
    test = await createTestDatabase();
  });
  afterAll(() => test.close());

  const isReached = (most: number, scope: string[] | null = null) =>
    checkInstances(test.database, { scope, most }).then(
      () => false,
      (problem: unknown) => {
        expect(problem).toMatchObject({ code: 'instance-limit-reached' });
        return true;
      },
    );

  it('counts an instance until it is terminated, whatever became of its attempt', async () => {
    const { instanceId, attemptId } = await insertAgent(test.database);
    await test.database.query(`UPDATE deployments SET status = 'active'`);
    expect([
      await isReached(0),
      await isReached(1),
      await isReached(0, ['job-']),
      await isReached(0, ['other-']),
    ]).toEqual([true, false, true, false]);
    await test.database.query(`UPDATE deployments SET status = 'failed'`);
    await test.database.query(`UPDATE attempts SET phase = 'ended', ended_at = clock_timestamp() WHERE id = $1`, [
      attemptId,
    ]);
    expect([await isReached(0), await isReached(1)]).toEqual([true, false]);
    await test.database.query(
      `UPDATE instances SET state = 'terminated', terminated_at = clock_timestamp() WHERE id = $1`,
      [instanceId],
    );
    expect(await isReached(0)).toBe(false);
  });

  it('counts a deployment once, before it has an attempt and after', async () => {
    const { jobId, attemptId } = await insertAgent(test.database);
    expect([await isReached(0), await isReached(1)]).toEqual([true, false]);
    await test.database.query('DELETE FROM assignments');
    await test.database.query('DELETE FROM attempts WHERE id = $1', [attemptId]);
    expect([await isReached(0), await isReached(1)]).toEqual([true, false]);
    await test.database.query('UPDATE jobs SET deleted_at = clock_timestamp() WHERE id = $1', [jobId]);
    expect(await isReached(0)).toBe(false);
  });
});
