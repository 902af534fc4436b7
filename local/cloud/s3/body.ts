import { createHash } from 'node:crypto';
import type { IncomingHttpHeaders } from 'node:http';
import { CloudError } from '../errors.ts';
import { CHECKSUMS } from './checksums.ts';

export type UploadedBody = {
  readonly content: Buffer;
  /** What the client proved about it, to be given back on GET. */
  readonly checksum: { readonly algorithm: string; readonly value: string } | undefined;
};

/** Takes the content out of the transfer coding and checks every digest that came with it. */
export function readUpload(headers: IncomingHttpHeaders, raw: Buffer): UploadedBody {
  const { content, trailers } = isAwsChunked(headers)
    ? decodeAwsChunked(raw)
    : { content: raw, trailers: new Map<string, string>() };
  const announced = text(headers['x-amz-decoded-content-length']);
  if (announced !== undefined && Number(announced) !== content.length) {
    throw new CloudError(
      'IncompleteBody',
      'You did not provide the number of bytes specified by the Content-Length HTTP header.',
    );
  }
  checkDigests(headers, content);
  return { content, checksum: checkChecksum(headers, trailers, content) };
}

export type AwsChunk = {
  readonly data: Buffer;
  /** '' for none. */
  readonly signature: string;
};

/** `aws-chunked`: `SIZE-IN-HEX[;chunk-signature=…]CRLF DATA CRLF`, repeated until size 0, then trailers. The last chunk is empty. */
export function decodeAwsChunked(raw: Buffer): {
  content: Buffer;
  chunks: readonly AwsChunk[];
  trailers: Map<string, string>;
} {
  const chunks: AwsChunk[] = [];
  let offset = 0;
  for (;;) {
    const lineEnd = raw.indexOf('\r\n', offset);
    if (lineEnd < 0) throw malformed('a chunk header is missing');
    const [size = '', extension = ''] = raw.toString('latin1', offset, lineEnd).split(';');
    if (!/^[0-9a-f]{1,8}$/i.test(size)) throw malformed('a chunk size is not hexadecimal');
    const length = Number.parseInt(size, 16);
    const start = lineEnd + 2;
    if (length > 0 && start + length + 2 > raw.length) throw malformed('a chunk is cut off');
    const data = raw.subarray(start, start + length);
    chunks.push({ data, signature: /^chunk-signature=([0-9a-f]{64})$/.exec(extension)?.[1] ?? '' });
    if (length === 0) {
      const content = Buffer.concat(chunks.map((chunk) => chunk.data));
      return { content, chunks, trailers: readTrailers(raw.toString('latin1', start)) };
    }
    offset = start + length + 2;
  }
}

function isAwsChunked(headers: IncomingHttpHeaders): boolean {
  const hash = text(headers['x-amz-content-sha256']) ?? '';
  const codings = (text(headers['content-encoding']) ?? '').split(',').map((coding) => coding.trim());
  return hash.startsWith('STREAMING-') || codings.includes('aws-chunked');
}

function readTrailers(block: string): Map<string, string> {
  const lines = block.split('\r\n').filter((line) => line.includes(':'));
  return new Map(
    lines.map((line) => {
      const colon = line.indexOf(':');
      return [line.slice(0, colon).trim().toLowerCase(), line.slice(colon + 1).trim()] as const;
    }),
  );
}

function checkDigests(headers: IncomingHttpHeaders, content: Buffer): void {
  const md5 = text(headers['content-md5']);
  if (md5 !== undefined && md5 !== createHash('md5').update(content).digest('base64')) {
    throw new CloudError('BadDigest', 'The Content-MD5 you specified did not match what we received.');
  }
}

function checkChecksum(
  headers: IncomingHttpHeaders,
  trailers: ReadonlyMap<string, string>,
  content: Buffer,
): UploadedBody['checksum'] {
  for (const [algorithm, compute] of Object.entries(CHECKSUMS)) {
    const name = `x-amz-checksum-${algorithm}`;
    const value = text(headers[name]) ?? trailers.get(name);
    if (value === undefined) continue;
    if (compute(content) !== value) {
      throw new CloudError(
        'BadDigest',
        `The ${algorithm.toUpperCase()} you specified did not match the calculated checksum.`,
      );
    }
    return { algorithm, value };
  }
  return undefined;
}

function text(value: string | string[] | undefined): string | undefined {
  return Array.isArray(value) ? value[0] : value;
}

function malformed(what: string): CloudError {
  return new CloudError('IncompleteBody', `The aws-chunked body is malformed: ${what}.`);
}
