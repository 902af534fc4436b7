import type { FuzzOptions, FuzzResult } from './run.ts';

/** What a person reads at the end. */
export function reportOf(options: FuzzOptions, result: FuzzResult): string {
  const { seed, requests, senders } = options;
  const declared = result.coverage.reduce((sum, { reached, missing }) => sum + reached.length + missing.length, 0);
  const missing = result.coverage.filter((one) => one.missing.length > 0);
  const unreached = missing.reduce((sum, one) => sum + one.missing.length, 0);
  const lines = [
    '',
    `requests: ${result.requests} in ${result.seconds.toFixed(1)} s, ${Math.round(result.requests / result.seconds)} a second`,
    ...result.byStatus.map(([status, count]) => `  ${String(count).padStart(7)}  ${status}`),
    'by operation',
    ...result.coverage.map(({ operation, reached }) => `  ${operation.padEnd(52)} ${reached.join(' ')}`),
    `statuses that were never reached, of ${declared} declared or seen: ${unreached}`,
    ...missing.map((one) => `  ${one.operation.padEnd(52)} ${one.missing.join(' ')}`),
    `agents heard of: ${result.agents}; slowest answer: ${result.slowest}; memory afterwards: ${result.memoryMiB ?? '?'} MiB`,
    ...result.findings.flatMap(({ where, fault, repeat, count }) => [
      `WRONG, ${count} times, ${where}: ${fault}`,
      `  ${repeat}`,
    ]),
    result.findings.length === 0 ? 'RIGHT: every answer was a proper one' : `${result.findings.length} findings`,
    `again: npm run fuzz -- --seed ${seed} --requests ${requests} --senders ${senders}`,
  ];
  return lines.join('\n');
}
