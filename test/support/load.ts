import { expect } from '@jest/globals';
import type { Answer } from './rehearsal.ts';
import { repeat } from './repeat.ts';

/** Good, and what it was: a status, an error, the door it came by. */
export type Outcome = { readonly isGood: boolean; readonly what: string };
export type Kind = {
  readonly name: string;
  readonly perSecond: number;
  /** Never rejects. */
  readonly call: () => Promise<Outcome>;
};
/** Milliseconds of one clock. */
export type Answered = Outcome & { readonly kind: string; readonly from: number; readonly to: number };
export type Outage = { readonly from: number; readonly to: number; readonly failed: readonly Answered[] };

/** Bounds, no measures: a machine five times slower took 145 s for an outage of 30 s. */
const LONGEST_OUTAGE_SECONDS = 300;
const SLOW_MS = 10_000;
/** Between one user's rounds. */
const PAUSE_MS = 100;
/** Good answers between two outages that last less are no service: the machine is shared with who prepares itself. */
const TOGETHER_MS = 10_000;

/** Calls of all kinds at a steady rate, whatever becomes of those before, until `stop`: then all have been answered. */
export function putOnLoad(kinds: readonly Kind[]): { stop(): Promise<Answered[]> } {
  const answers: Answered[] = [];
  const underWay = new Set<Promise<void>>();
  const timers = kinds.map(({ name, perSecond, call }) =>
    setInterval(() => {
      const from = performance.now();
      const one = call().then((outcome) => {
        answers.push({ kind: name, from, to: performance.now(), ...outcome });
        underWay.delete(one);
      });
      underWay.add(one);
    }, 1000 / perSecond),
  );
  return {
    stop: async () => {
      for (const timer of timers) clearInterval(timer);
      await Promise.all(underWay);
      return answers.sort((a, b) => a.to - b.to);
    },
  };
}

/** One user, who calls all kinds in turn and waits for each answer: no machine is too slow for that. */
export function putOnOneUser(kinds: readonly Kind[]): { stop(): Promise<Answered[]> } {
  const answers: Answered[] = [];
  const calling = repeat(async () => {
    for (const { name, call } of kinds) {
      const from = performance.now();
      answers.push({ kind: name, from, ...(await call()), to: performance.now() });
    }
  }, PAUSE_MS);
  return { stop: () => calling.stop().then(() => answers) };
}

export function toOutcome({ status, text }: Answer): Outcome {
  return { isGood: status === 200, what: status === 0 ? text : String(status) };
}

/** One outage of seconds it must be, in one piece. Prints how long, and what became of the calls. */
export function expectOneOutage(what: string, answers: readonly Answered[]): void {
  expect(outagesOf(answers).map(({ from, to, failed }) => [from, to, countsOf(failed)])).toHaveLength(1);
  expectService(what, answers);
}

/** Outages of seconds, however many, and service at the end: one that does not end lasts for ever. Prints as the above. */
export function expectService(what: string, answers: readonly Answered[]): void {
  const outages = outagesOf(answers);
  const seconds = outages.map(({ from, to }) => (to - from) / 1000);
  const failed = outages.flatMap((outage) => outage.failed);
  const all = ((answers.at(-1)?.to ?? 0) - (answers[0]?.from ?? 0)) / 1000;
  const p99 = p99Outside(outages, answers);
  process.stdout.write(
    `${what}: ${seconds.map((some) => some.toFixed(1)).join(' s, ')} s of API downtime. Of ${answers.length} calls in ${all.toFixed(0)} s ` +
      `${failed.length} failed, all of them then (${countsOf(failed)}); 99 of 100 others within ${p99.toFixed(0)} ms\n`,
  );
  expect(Math.max(0, ...seconds)).toBeLessThan(LONGEST_OUTAGE_SECONDS);
  expect(p99).toBeLessThan(SLOW_MS);
}

/** From the last good answer before it to the first one after it. */
function outagesOf(answers: readonly Answered[]): Outage[] {
  const outages: Outage[] = [];
  let lastGood = answers[0]?.from ?? 0;
  let failed: Answered[] = [];
  const add = (outage: Outage): void => {
    const before = outages.at(-1);
    if (before === undefined || outage.from - before.to > TOGETHER_MS) outages.push(outage);
    else
      outages[outages.length - 1] = { from: before.from, to: outage.to, failed: [...before.failed, ...outage.failed] };
  };
  for (const answer of answers) {
    if (!answer.isGood) {
      failed.push(answer);
      continue;
    }
    if (failed.length > 0) add({ from: lastGood, to: answer.to, failed });
    failed = [];
    lastGood = answer.to;
  }
  if (failed.length > 0) add({ from: lastGood, to: Infinity, failed });
  return outages;
}

/** Of the good answers that no outage touched, in milliseconds. */
function p99Outside(outages: readonly Outage[], answers: readonly Answered[]): number {
  const times = answers
    .filter(({ isGood, from, to }) => isGood && outages.every((outage) => to <= outage.from || from >= outage.to))
    .map(({ from, to }) => to - from)
    .sort((a, b) => a - b);
  return times[Math.ceil(times.length * 0.99) - 1] ?? Infinity;
}

/** `503 412 times, connect ECONNREFUSED 127.0.0.1:80 3 times` */
function countsOf(answers: readonly Answered[]): string {
  const counts = new Map<string, number>();
  for (const { what } of answers) counts.set(what, (counts.get(what) ?? 0) + 1);
  return [...counts].map(([what, count]) => `${what} ${count} times`).join(', ');
}
