import type { ApiDocument, Operation } from './document.ts';
import type { FuzzRequest } from './request.ts';
import type { Timed } from './send.ts';

export type Finding = {
  readonly where: string;
  readonly fault: string;
  /** For a person to repeat it. */
  readonly repeat: string;
  count: number;
};

/** What was sent, what came back, and what was wrong with it. */
export class Tally {
  /** Operation id, or `elsewhere` and `raw`, → outcome → count. */
  readonly counts = new Map<string, Map<string, number>>();
  readonly findings: Finding[] = [];
  requests = 0;
  slowestMs = 0;
  slowest = '';

  add(where: string, outcome: string): void {
    const counts = this.counts.get(where) ?? new Map<string, number>();
    this.counts.set(where, counts.set(outcome, (counts.get(outcome) ?? 0) + 1));
    this.requests += 1;
  }

  addTimed(request: FuzzRequest, { outcome, ms }: Timed): void {
    const where = request.operation?.id ?? 'elsewhere';
    this.add(where, 'status' in outcome ? String(outcome.status) : outcome.kind);
    if (outcome.kind !== 'answer' || ms <= this.slowestMs) return;
    this.slowestMs = ms;
    this.slowest = `${request.method} ${request.path.slice(0, 100)}`;
  }

  /** @returns the finding, when it is a new one */
  find(where: string, fault: string, repeat: string): Finding | undefined {
    const key = shapeOf(fault);
    const known = this.findings.find((finding) => finding.where === where && shapeOf(finding.fault) === key);
    if (known) {
      known.count += 1;
      return undefined;
    }
    const finding = { where, fault, repeat, count: 1 };
    this.findings.push(finding);
    return finding;
  }

  replace(finding: Finding, better: Finding): void {
    this.findings[this.findings.indexOf(finding)] = { ...better, count: finding.count };
  }

  byStatus(): [string, number][] {
    const all = new Map<string, number>();
    for (const counts of this.counts.values()) {
      for (const [outcome, count] of counts) all.set(outcome, (all.get(outcome) ?? 0) + count);
    }
    return [...all].sort(([one], [other]) => one.localeCompare(other));
  }
}

/** Faults that differ in their numbers and quotations only are one. */
function shapeOf(fault: string): string {
  return fault.replaceAll(/"(\\.|[^"\\])*"|\d+/g, '…').slice(0, 120);
}

export type Coverage = {
  readonly operation: string;
  readonly reached: readonly string[];
  /** Declared, and never seen. */
  readonly missing: readonly string[];
};

export function coverageOf({ operations }: Pick<ApiDocument, 'operations'>, { counts }: Tally): Coverage[] {
  return operations.map(({ id, answers }: Operation) => {
    const reached = [...(counts.get(id)?.keys() ?? [])].sort();
    return { operation: id, reached, missing: Object.keys(answers).filter((status) => !reached.includes(status)) };
  });
}
