import { promisify } from 'node:util';
import { gunzip, gzip } from 'node:zlib';

/** Where sealed chunks are: an ObjectFolder. */
export const OBJECTS = Symbol('OBJECTS');

/** Where sealed chunks are: S3, or a directory. A key is a relative path of plain characters. */
export type ObjectFolder = {
  put(key: string, bytes: Uint8Array): Promise<void>;
  /** @returns undefined when there is none */
  get(key: string): Promise<Uint8Array | undefined>;
  /** A missing key is no error. */
  delete(keys: readonly string[]): Promise<void>;
  /** Keys that begin with `prefix`, some at a time. */
  list(prefix: string): AsyncIterable<readonly string[]>;
};

export type ChunkRange = { readonly jobId: string; readonly firstLine: number; readonly lastLine: number };

/**
 * Name of a chunk's object. Lines never change once they have their numbers, so sealing the same lines again writes the
 * same object.
 */
export function chunkKey({ jobId, firstLine, lastLine }: ChunkRange): string {
  return `${jobPrefix(jobId)}${numbered(firstLine)}-${numbered(lastLine)}.log.gz`;
}

/** @returns undefined for a name chunkKey did not write */
export function parseChunkKey(key: string): ChunkRange | undefined {
  const [, jobId, firstLine, lastLine] = /^([^/]+)\/(\d{12,})-(\d{12,})\.log\.gz$/.exec(key) ?? [];
  if (jobId === undefined) return undefined;
  return { jobId, firstLine: Number(firstLine), lastLine: Number(lastLine) };
}

export function jobPrefix(jobId: string): string {
  return `${jobId}/`;
}

export async function packChunk(content: Uint8Array): Promise<Uint8Array> {
  return await promisify(gzip)(content);
}

/** @throws Error for what packChunk did not write, or what is larger than any chunk */
export async function unpackChunk(bytes: Uint8Array): Promise<Buffer> {
  return await promisify(gunzip)(bytes, { maxOutputLength: MAX_UNPACKED_BYTES });
}

/** Far more than any chunk has. */
const MAX_UNPACKED_BYTES = 16 * 1_048_576;

/** So that names are in the order of the lines. */
function numbered(line: number): string {
  return String(line).padStart(12, '0');
}
