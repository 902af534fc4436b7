import type { CloudInstance } from './instance.ts';

/** One API call as the cloud saw it. */
export type CallRecord = {
  /** ISO 8601 */
  readonly at: string;
  readonly service: 'ec2' | 'ecr' | 's3';
  readonly action: string;
  /** `ok`, an error code, or `answer-lost`: it took effect and the caller got no answer. */
  readonly outcome: string;
  readonly status: number;
  readonly requestId: string;
  readonly clientToken?: string;
  /** Instances the call named or launched, 1,000 at most. */
  readonly instanceIds?: readonly string[];
};

export type Ledger = {
  /** Every instance ever, earlier runs included, in the order of their launch. */
  instances(): readonly CloudInstance[];
  /** Oldest first; the last 100,000. */
  readonly calls: (action?: string) => readonly CallRecord[];
};

export type CallLog = { add(call: CallRecord): void; calls: Ledger['calls'] };

export function createCallLog(earlier: readonly CallRecord[], onAdd: (call: CallRecord) => void): CallLog {
  const calls = [...earlier];
  return {
    add: (call) => {
      calls.push(call);
      // In large steps: shifting one at a time would move 100,000 entries with every call.
      if (calls.length > 2 * CALLS_KEPT) calls.splice(0, calls.length - CALLS_KEPT);
      onAdd(call);
    },
    calls: (action) => (action === undefined ? [...calls] : calls.filter((call) => call.action === action)),
  };
}

const CALLS_KEPT = 100_000;
