import { afterAll, beforeAll, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { applyJobPlans } from '../../src/scheduler/apply-job-plans.js';
import { claimJobs } from '../../src/scheduler/load-jobs.js';
import type { JobFacts, JobPlan } from '../../src/scheduler/plan/plan-facts.js';
import { histories, play } from '../histories/events.js';
import {
  insertTables,
  type JobTables,
  plainFacts,
  plainTables,
  readTables,
  tablesOf,
  translateFacts,
  translatePlan,
  uuidOf,
} from '../histories/in-postgres.js';
import { World } from '../histories/world.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';

const HISTORIES = 500;
const SEED = Number(process.env['SEED'] ?? 1);
/** Of one history, and of how many that write something one is taken. */
const MOST_PASSES = 12;
const ONE_IN = 2;

/** What one pass of the model read, decided and left. */
type Pass = {
  readonly now: Date;
  readonly before: JobTables;
  readonly facts: JobFacts;
  readonly plan: JobPlan;
  readonly after: JobTables;
};

let test: TestDatabase;
beforeAll(async () => {
  test = await createTestDatabase();
});
afterAll(() => test.close());

// The histories prove the planners on a model of the tables: they prove nothing if SQL reads or writes something else.
it(`SQL loads and writes what the model of the tables does, in passes of ${HISTORIES} histories`, async () => {
  let compared = 0;
  for (const [index, history] of fc.sample(histories, { numRuns: HISTORIES, seed: SEED }).entries()) {
    for (const pass of passesOf(history, index)) {
      compared += 1;
      const { read, written } = await repeat(pass);
      expect(read).toEqual(plainFacts(translateFacts(pass.facts)));
      expect(written).toEqual(plainTables(pass.after, pass.before, pass.now));
    }
  }
  expect(compared).toBeGreaterThan(HISTORIES);
}, 600_000);

/** Plays a history on the model, and takes some of its passes that write something. */
function passesOf(history: Parameters<typeof play>[1][], index: number): Pass[] {
  const world = new World();
  const { rows } = world;
  const taken: Pass[] = [];
  let passes = index;
  const apply = rows.applyJobPlan.bind(rows);
  rows.applyJobPlan = (job, plan, now) => {
    const writes = plan.deployments.length + plan.attempts.length + plan.newAttempts.length + plan.orders.length;
    if (writes > 0) passes += 1;
    if (writes === 0 || passes % ONE_IN !== 0 || taken.length === MOST_PASSES) {
      apply(job, plan, now);
      return;
    }
    const before = tablesOf(rows, job);
    const facts = structuredClone(rows.jobFacts(job));
    apply(job, plan, now);
    taken.push({ now, before, facts, plan, after: tablesOf(rows, job) });
  };
  for (const event of history) play(world, event);
  return taken;
}

/** The same pass on Postgres, in a transaction that is taken back. */
async function repeat({ now, before, plan }: Pass): Promise<{ read: unknown; written: unknown }> {
  const undo = new Error('taken back');
  let result: { read: unknown; written: unknown } | undefined;
  await test.database
    .transaction(async (transaction) => {
      await insertTables(transaction, before, now);
      const { jobs } = await claimJobs(transaction, 'ours', 1, { among: [uuidOf(before.job.id)] });
      const [job] = jobs;
      if (!job) throw new Error('the job was not claimed');
      await applyJobPlans(transaction, [{ job, plan: translatePlan(plan) }]);
      result = { read: plainFacts(job), written: await readTables(transaction, before) };
      throw undo;
    })
    .catch((error: unknown) => {
      if (error !== undo) throw error;
    });
  if (!result) throw new Error('nothing was compared');
  return result;
}
