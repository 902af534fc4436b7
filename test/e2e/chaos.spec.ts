import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { reportOf } from '../chaos/report.ts';
import { runChaos, type ChaosOptions } from '../chaos/run.ts';
import { drawSchedule, FAULT_KINDS } from '../chaos/schedule.ts';

// A sample of `npm run chaos`; docs/evidence.md says how to run it for longer.
describe('everything that can go wrong, all at once', () => {
  let directory: string;
  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'scheduler-api-chaos-'));
  });
  afterAll(() => rm(directory, { recursive: true, force: true }));

  it('in the end everything is as it was asked for, and nothing else is there', async () => {
    const options: ChaosOptions = {
      seed: 42,
      jobs: 8,
      replicas: 2,
      workers: 1,
      minutes: 0.4,
      faultsPerMinute: 75,
      restLimitSeconds: 240,
      staleSeconds: 1,
      directory,
      signal: new AbortController().signal,
      say: () => undefined,
    };
    const result = await runChaos(options);
    if (!result.isRight) console.log(reportOf(options, result));
    expect(result.findings).toEqual([]);
    // Else it would prove nothing. A busy machine injects fewer than the 30 that were drawn, and creates fewer jobs.
    expect(Object.values(result.faults).reduce((sum, count) => sum + count, 0)).toBeGreaterThanOrEqual(10);
    expect(result.requests['create accepted']).toBeGreaterThanOrEqual(options.jobs / 2);
    expect(result.checked['what runs is what was asked for']).toBeGreaterThanOrEqual(1);
    expect(result.lookups.led).toBeGreaterThanOrEqual(1);
  }, 420_000);

  it('a seed always draws the same faults, and in ten minutes at least 500, of every kind', () => {
    const schedule = drawSchedule(1, 600_000, 60);
    expect(drawSchedule(1, 600_000, 60)).toEqual(schedule);
    expect(drawSchedule(2, 600_000, 60)).not.toEqual(schedule);
    expect(schedule.length).toBeGreaterThanOrEqual(500);
    expect(new Set(schedule.map(({ kind }) => kind))).toEqual(new Set(FAULT_KINDS));
  });
});
