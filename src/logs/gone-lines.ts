import type { IndexRow, LogBatch } from './log-batch.js';
import { countWanted, type LogFilter } from './log-filter.js';
import { timeOf } from './stored-position.js';

/** The text in place of lines whose object somebody has deleted. */
export function goneText(lines: number): string {
  const these = lines === 1 ? 'a line is' : `${lines} lines are`;
  return `[scheduler: ${these} missing here, somebody deleted the object of LOGS_URI that held ${lines === 1 ? 'it' : 'them'}]`;
}

/** One line reports them to the reader, where the last of them was. */
export function goneLines(chunk: IndexRow, after: number, filter: LogFilter): LogBatch {
  const { counts, lastLine, firstAtMs, lastAtMs } = chunk;
  const gone = Math.min(countWanted(counts, filter), lastLine - after);
  const [last = ''] =
    Object.entries(counts).findLast(([key, count]) => countWanted({ [key]: count }, filter) > 0) ?? [];
  const [deployment = 1, attempt = 1] = last.split('.').map(Number);
  // As chunks have it: nine digits.
  const at = new Date(lastAtMs).toISOString().replace('Z', '000000Z');
  const text = goneText(gone);
  const line = { line: lastLine, deployment, attempt, stream: filter.stream ?? 'stderr', at, text };
  // How many lines were wanted is unknown for a chunk that `since` cuts in two: a count has this one line.
  const isWhole = filter.since === null || firstAtMs > timeOf(filter.since);
  return { lines: [line], through: lastLine, gone: isWhole ? gone : 1 };
}
