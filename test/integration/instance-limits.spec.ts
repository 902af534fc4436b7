import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { checkInstances } from '../../src/deployments/instance-limits.ts';
import { insertAgent } from '../support/agents.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';

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

  it('counts what was launched for an attempt that ended before it had an instance, as long as nobody else waits for it', async () => {
    const { jobId, attemptId, instanceId } = await insertAgent(test.database);
    await test.database.query(`UPDATE deployments SET status = 'cancelled'`);
    await test.database.query('DELETE FROM assignments WHERE attempt_id = $1', [attemptId]);
    const launchIs = (status: string) =>
      test.database.query(
        `UPDATE launches SET status = $2 WHERE id = (SELECT launch_id FROM instances WHERE id = $1)`,
        [instanceId, status],
      );
    const end = `UPDATE attempts SET phase = 'ended', ended_at = clock_timestamp() WHERE id = $1`;
    await test.database.query(end, [attemptId]);
    expect([await isReached(0), await isReached(1)]).toEqual([true, false]);
    expect([await isReached(0, ['job-']), await isReached(0, ['other-'])]).toEqual([true, false]);
    // Its job is deleted, to be made again.
    await test.database.query('UPDATE jobs SET deleted_at = clock_timestamp() WHERE id = $1', [jobId]);
    expect([await isReached(0), await isReached(1)]).toEqual([true, false]);
    // Another launch of its shape is under way, for nobody: no more attempts than one were left.
    await launchIs('planned');
    expect(await isReached(1)).toBe(false);
    await launchIs('done');
    await test.database.query(
      `UPDATE instances SET state = 'terminated', terminated_at = clock_timestamp() WHERE id = $1`,
      [instanceId],
    );
    expect(await isReached(0)).toBe(false);
  });

  it('does not count what another job of the same shape waits for', async () => {
    const { attemptId } = await insertAgent(test.database);
    await test.database.query(`UPDATE deployments SET status = 'cancelled'`);
    await test.database.query('DELETE FROM assignments WHERE attempt_id = $1', [attemptId]);
    await test.database.query(`UPDATE attempts SET phase = 'ended', ended_at = clock_timestamp() WHERE id = $1`, [
      attemptId,
    ]);
    const other = await insertAgent(test.database);
    await test.database.query('DELETE FROM assignments WHERE attempt_id = $1', [other.attemptId]);
    await test.database.query('DELETE FROM instances WHERE id = $1', [other.instanceId]);
    await test.database.query(
      `UPDATE attempts SET phase = 'waiting', shape_key = (SELECT shape_key FROM attempts WHERE id = $2) WHERE id = $1`,
      [other.attemptId, attemptId],
    );
    // Its own, which waits, and no more.
    expect([await isReached(0), await isReached(1)]).toEqual([true, false]);
  });
});
