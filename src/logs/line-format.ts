import type { LogStream } from '../docker/container-logs.js';

/** A line of a job's log. */
export type LogLine = {
  /** Numbers of the deployment and of its attempt. */
  readonly deployment: number;
  readonly attempt: number;
  readonly stream: LogStream;
  /** RFC 3339, nine digits and Z. */
  readonly at: string;
  readonly text: string;
};

/** Lines of a chunk: number of deployment and attempt, as in `2.1`, → how many of stdout and of stderr. */
export type LineCounts = Readonly<Record<string, readonly [stdout: number, stderr: number]>>;

/** As chunks hold it, also in the object store, where people read it without the API. */
export function formatLine({ at, deployment, attempt, stream, text }: LogLine): string {
  return `${at} ${deployment}.${attempt} ${stream} ${text}\n`;
}

/** @throws Error for what formatLine did not write */
export function parseLine(line: string): LogLine {
  const match = LINE.exec(line);
  if (!match) throw new Error('a stored log line cannot be read');
  const [, at = '', deployment, attempt, stream, text = ''] = match;
  return {
    at,
    deployment: Number(deployment),
    attempt: Number(attempt),
    stream: stream === 'stderr' ? 'stderr' : 'stdout',
    text,
  };
}

export function mergeCounts(all: readonly LineCounts[]): LineCounts {
  const merged: Record<string, readonly [number, number]> = {};
  for (const counts of all) {
    for (const [attempt, [stdout, stderr]] of Object.entries(counts)) {
      const [before, errorsBefore] = merged[attempt] ?? [0, 0];
      merged[attempt] = [before + stdout, errorsBefore + stderr];
    }
  }
  return merged;
}

// A text may hold a carriage return, or a line separator of Unicode, which `.` does not match.
const LINE = /^(\S+) (\d+)\.(\d+) (stdout|stderr) ([^]*)$/;
