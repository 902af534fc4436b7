import type { LogStream } from '../docker/container-logs.js';
import type { LineCounts, LogLine } from './line-format.js';

/** Which lines of a job's log are wanted. */
export type LogFilter = {
  /** Numbers of deployments, both included; null = and all later ones. */
  readonly fromDeployment: number;
  readonly toDeployment: number | null;
  /** Number of an attempt; null = all. */
  readonly attempt: number | null;
  readonly stream: LogStream | null;
  /** RFC 3339 with nine digits and Z: printed at or after. */
  readonly since: string | null;
};

export function isWanted(line: LogLine, filter: LogFilter): boolean {
  return (
    isWantedAttempt(line.deployment, line.attempt, filter) &&
    (filter.stream === null || line.stream === filter.stream) &&
    (filter.since === null || line.at >= filter.since)
  );
}

/** Lines of a chunk that are wanted, whenever they were printed. */
export function countWanted(counts: LineCounts, filter: LogFilter): number {
  let sum = 0;
  for (const [key, [stdout, stderr]] of Object.entries(counts)) {
    const [deployment = 0, attempt = 0] = key.split('.').map(Number);
    if (!isWantedAttempt(deployment, attempt, filter)) continue;
    sum += (filter.stream === 'stderr' ? 0 : stdout) + (filter.stream === 'stdout' ? 0 : stderr);
  }
  return sum;
}

function isWantedAttempt(deployment: number, attempt: number, filter: LogFilter): boolean {
  return (
    deployment >= filter.fromDeployment &&
    (filter.toDeployment === null || deployment <= filter.toDeployment) &&
    (filter.attempt === null || attempt === filter.attempt)
  );
}
