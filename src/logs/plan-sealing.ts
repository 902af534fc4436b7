/** A recent chunk: its content is still in the database. */
export type RecentChunk = { readonly firstLine: number; readonly lastLine: number; readonly bytes: number };

/** What becomes of some chunks that follow each other: one chunk, whose content is in the object store if it is sealed. */
export type Joining = { readonly isSealed: boolean; readonly chunks: readonly RecentChunk[] };

/** Of a sealed chunk: a reader holds it whole in memory, and each is an object that costs money. */
export const SEALED_BYTES = 524_288;
/** Small chunks are joined up to this, so that a job that prints now and then does not become thousands of rows. */
export const JOINED_BYTES = 65_536;
/** Such chunks are not joined, smaller ones only many at a time, or the same lines would be written again and again. */
const LARGE_BYTES = 32_768;
const LEAST_JOINED = 16;

const FIRST_PAUSE_SECONDS = 15;
/** Longer would let rows grow after the store is back; shorter would pay for more calls that it refuses. */
const LONGEST_PAUSE_SECONDS = 300;

/** Seconds until the object store is tried again. @param failures refused runs of this process in a row; not 0 */
export function pauseAfter(failures: number): number {
  return Math.min(FIRST_PAUSE_SECONDS * 2 ** Math.min(failures - 1, 10), LONGEST_PAUSE_SECONDS);
}

/**
 * @param chunks the oldest recent ones of a job, in their order
 * @param isDue the oldest has been here long enough, or no more lines will be printed
 */
export function planSealing(chunks: readonly RecentChunk[], isDue: boolean): Joining[] {
  const sealed: Joining[] = [];
  let rest = chunks;
  for (;;) {
    const group = firstGroup(rest, SEALED_BYTES);
    const isFull = group.length < rest.length || bytesOf(group) >= SEALED_BYTES;
    if (group.length === 0 || !(isFull || isDue)) break;
    sealed.push({ isSealed: true, chunks: group });
    rest = rest.slice(group.length);
  }
  return [...sealed, ...joinSmall(rest)];
}

function joinSmall(chunks: readonly RecentChunk[]): Joining[] {
  const joined: Joining[] = [];
  for (let rest = chunks; rest.length > 0;) {
    const end = rest.findIndex(({ bytes }) => bytes >= LARGE_BYTES);
    const group = firstGroup(end === -1 ? rest : rest.slice(0, Math.max(end, 1)), JOINED_BYTES);
    if (group.length >= LEAST_JOINED) joined.push({ isSealed: false, chunks: group });
    rest = rest.slice(group.length);
  }
  return joined;
}

/** At least one, and as many as fit. */
function firstGroup(chunks: readonly RecentChunk[], maxBytes: number): RecentChunk[] {
  let bytes = 0;
  const end = chunks.findIndex((chunk, index) => {
    bytes += chunk.bytes;
    return index > 0 && bytes > maxBytes;
  });
  return chunks.slice(0, end === -1 ? chunks.length : end);
}

function bytesOf(chunks: readonly RecentChunk[]): number {
  return chunks.reduce((sum, { bytes }) => sum + bytes, 0);
}
