import type { ChaosOptions, ChaosResult } from './run.ts';

/** What a person reads at the end. */
export function reportOf(options: ChaosOptions, result: ChaosResult): string {
  const { seed, jobs, replicas, workers, minutes, faultsPerMinute } = options;
  const total = (counts: Readonly<Record<string, number>>, fits = /./) =>
    Object.entries(counts).reduce((sum, [key, count]) => (fits.test(key) ? sum + count : sum), 0);
  const again = `npm run chaos -- --seed ${seed} --jobs ${jobs} --replicas ${replicas} --workers ${workers} --minutes ${minutes} --faults-per-minute ${faultsPerMinute}`;
  return [
    '',
    ...table(`faults injected: ${total(result.faults)} (${result.skipped} met nothing)`, result.faults),
    ...table(`requests: ${total(result.requests)}, accepted: ${total(result.requests, / accepted$/)}`, result.requests),
    `  unknown, then looked up: ${result.resolved.carriedOut} had been carried out, ${result.resolved.lost} had not; jobs with one that could not be: ${result.uncertainJobs}`,
    ...table(`calls to EC2: ${total(result.calls)}`, result.calls),
    `addresses looked up: ${result.lookups.answered}, of which ${result.lookups.led} led to a container; each was called there`,
    `instances launched: ${result.instances}`,
    ...table('deployments of good images that failed, by reason', result.failed),
    ...table(`invariants checked: ${total(result.checked)}`, result.checked),
    `time to rest: ${result.restSeconds.toFixed(1)} s; to empty after deletion: ${result.emptySeconds.toFixed(1)} s`,
    '',
    ...result.findings.map(({ invariant, subject, detail }) => `WRONG: ${invariant}\n  ${subject}: ${detail}`),
    verdictOf(options, result),
    `again: ${again}`,
  ].join('\n');
}

function verdictOf({ signal, directory }: ChaosOptions, { isRight, findings }: ChaosResult): string {
  if (signal.aborted) return 'INTERRUPTED: nothing is proven';
  if (isRight) return 'RIGHT: nothing lost, nothing leaked, nothing double';
  return `${findings.length} findings; ledger, tables and logs are in ${directory}`;
}

function table(title: string, counts: Readonly<Record<string, number>>): string[] {
  return [title, ...Object.entries(counts).map(([key, count]) => `  ${String(count).padStart(7)}  ${key}`)];
}
