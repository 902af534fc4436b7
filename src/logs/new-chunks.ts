import { formatLine, type LineCounts } from './line-format.js';
import { type PlacedLine, timeOf } from './stored-position.js';

/** Lines that are stored together, see line-format.ts. */
export type NewChunk = {
  readonly lines: number;
  readonly content: Buffer;
  readonly counts: LineCounts;
  /** Earliest and latest stamp, milliseconds since 1970. */
  readonly firstAtMs: number;
  readonly lastAtMs: number;
};

/** A line to be stored. */
export type NewLine = PlacedLine & {
  /** Docker has dropped lines before this one. */
  readonly isAfterGap: boolean;
};

/** The text in place of lines that Docker had dropped before they were fetched. */
export const GAP_TEXT =
  '[scheduler: lines are missing here, the container printed more than its instance keeps (30 MB) before it was fetched]';

/** A reader holds a chunk whole in memory. */
const MAX_CHUNK_BYTES = 65_536;

export function chunksOf(lines: readonly NewLine[], deployment: number, attempt: number): NewChunk[] {
  const chunks: NewChunk[] = [];
  let batch = new Batch();
  for (const { stream, at, text, isAfterGap } of lines) {
    if (isAfterGap) batch.add(stream, at, formatLine({ deployment, attempt, stream, at, text: GAP_TEXT }));
    batch.add(stream, at, formatLine({ deployment, attempt, stream, at, text }));
    if (batch.length < MAX_CHUNK_BYTES) continue;
    chunks.push(batch.toChunk(deployment, attempt));
    batch = new Batch();
  }
  if (batch.length > 0) chunks.push(batch.toChunk(deployment, attempt));
  return chunks;
}

class Batch {
  /** In characters: near enough to bytes. */
  length = 0;
  readonly #lines: string[] = [];
  readonly #counts: { stdout: number; stderr: number } = { stdout: 0, stderr: 0 };
  #first = '';
  #last = '';

  add(stream: 'stdout' | 'stderr', at: string, line: string): void {
    this.#lines.push(line);
    this.length += line.length;
    this.#counts[stream] += 1;
    if (this.#first === '' || at < this.#first) this.#first = at;
    if (at > this.#last) this.#last = at;
  }

  toChunk(deployment: number, attempt: number): NewChunk {
    return {
      lines: this.#lines.length,
      content: Buffer.from(this.#lines.join('')),
      counts: { [`${deployment}.${attempt}`]: [this.#counts.stdout, this.#counts.stderr] },
      firstAtMs: timeOf(this.#first),
      lastAtMs: timeOf(this.#last),
    };
  }
}
