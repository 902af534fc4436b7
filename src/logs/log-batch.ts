import type { LineCounts, LogLine } from './line-format.js';

/** A line, and its number in the log of its job. */
export type NumberedLine = LogLine & { readonly line: number };

/** Some of the lines that are wanted, and the number of the latest line that was looked at for them. */
export type LogBatch = {
  readonly lines: readonly NumberedLine[];
  readonly through: number;
  /** How many wanted lines are gone; one line of `lines` reports them. */
  readonly gone?: number;
};

/** What is known of a chunk without its content. */
export type IndexRow = {
  readonly jobId: string;
  readonly firstLine: number;
  readonly lastLine: number;
  readonly firstAtMs: number;
  readonly lastAtMs: number;
  readonly counts: LineCounts;
};
