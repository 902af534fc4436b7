import { parseLine, type LogLine } from '../../src/logs/line-format.js';
import type { Stack } from './stack.js';

/** All that is stored of what a job's containers printed, in its order. */
export async function printedBy(stack: Stack, job: string): Promise<LogLine[]> {
  const chunks = await stack.query<{ content: Buffer }>(
    `SELECT c.content FROM log_chunks c JOIN jobs j ON j.id = c.job_id WHERE j.name = $1 ORDER BY c.last_line`,
    [job],
  );
  return chunks.flatMap(({ content }) => content.toString().trimEnd().split('\n').map(parseLine));
}
