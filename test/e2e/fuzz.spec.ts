import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { reportOf } from '../fuzz/report.ts';
import { type FuzzOptions, type FuzzResult, runFuzz } from '../fuzz/run.ts';

// A sample of `npm run fuzz`; the README tells how to run it for longer.
describe('requests nobody thought of', () => {
  let directory: string;
  let result: FuzzResult;
  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'scheduler-api-fuzz-'));
    const options: FuzzOptions = {
      seed: 7,
      requests: 3_000,
      senders: 8,
      limitSeconds: 15,
      directory,
      signal: new AbortController().signal,
      say: () => undefined,
    };
    result = await runFuzz(options);
    if (result.findings.length > 0) console.log(reportOf(options, result));
  }, 180_000);
  afterAll(() => rm(directory, { recursive: true, force: true }));

  it('are answered properly, each of them, and leave nothing behind', () => {
    expect(result.findings.map(({ where, fault }) => `${where}: ${fault}`)).toEqual([]);
  });

  it('are many, to every route, and of many kinds', () => {
    // Else it would prove nothing. A busy machine sends fewer than it is to.
    expect(result.requests).toBeGreaterThanOrEqual(500);
    expect(result.coverage.filter(({ reached }) => reached.length === 0)).toEqual([]);
    const statuses = result.byStatus.map(([status]) => status);
    const wanted = ['200', '201', '202', '204', '400', '401', '403', '404', '409', '422'];
    expect(wanted.filter((status) => !statuses.includes(status))).toEqual([]);
    expect(result.agents).toBeGreaterThan(0);
  });
});
