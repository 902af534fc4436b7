import type { Calls } from './calls.ts';

export type Around = {
  /** Swaps and disturbances, by what they were. */
  readonly counts: Readonly<Record<string, number>>;
  readonly seconds: number;
  readonly instances: number;
  /** Different private addresses that they had. */
  readonly addresses: number;
};

/** What a run shows, for people. */
export function reportOf(calls: readonly Calls[], around: Around): { text: string; isGood: boolean } {
  const kinds = [...new Set(calls.map(({ kind }) => kind))].map((kind) => calls.filter((one) => one.kind === kind));
  const failures = calls.flatMap((one) => one.failures);
  const strangers = sum(calls, (one) => one.strangers);
  const afterSigterm = sum(calls, (one) => one.afterSigterm);
  const lines = [
    `${around.seconds.toFixed(0)} s, ${around.instances} instances with ${around.addresses} addresses`,
    ...Object.entries(around.counts).map(([what, count]) => `${what}: ${count}`),
    ...kinds.map(lineOf),
    `${strangers} answered by another job, ${afterSigterm} taken by a container after its SIGTERM`,
    ...failures.slice(0, 30).map((failure) => `  ${failure}`),
  ];
  return { text: lines.join('\n'), isGood: failures.length === 0 && strangers === 0 && afterSigterm === 0 };
}

function lineOf(calls: readonly Calls[]): string {
  const sorted = calls.flatMap(({ milliseconds }) => milliseconds).sort((one, other) => one - other);
  const at = (fraction: number): number => sorted[Math.floor(sorted.length * fraction)] ?? 0;
  const failed = sum(calls, ({ failures }) => failures.length);
  const made = sum(calls, (one) => one.made);
  return `${calls[0]?.kind}: ${made}, ${failed} failed; p50 ${at(0.5)} ms, p99 ${at(0.99)} ms, most ${sorted.at(-1) ?? 0} ms`;
}

function sum(calls: readonly Calls[], of: (calls: Calls) => number): number {
  return calls.reduce((total, one) => total + of(one), 0);
}
