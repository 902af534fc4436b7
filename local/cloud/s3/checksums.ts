import { hash } from 'node:crypto';
import type { IncomingHttpHeaders } from 'node:http';
import { Crc32, Crc32c, Crc64NvmeJs } from '@aws-sdk/checksums/crc';
import { CloudError } from '../errors.ts';

/** What a client proved about the content of an upload, to be given back on GET. */
export type ProvenChecksum = { readonly algorithm: string; readonly value: string };

/** The checksums S3 knows, by the last part of `x-amz-checksum-*`; SDKs default to crc32, the AWS CLI v2 to crc64nvme. */
export const CHECKSUMS: Readonly<Record<string, (content: Buffer) => Promise<string>>> = {
  crc32: (content) => digestOf(new Crc32(), content),
  crc32c: (content) => digestOf(new Crc32c(), content),
  crc64nvme: (content) => digestOf(new Crc64NvmeJs(), content),
  sha1: (content) => Promise.resolve(hash('sha1', content, 'base64')),
  sha256: (content) => Promise.resolve(hash('sha256', content, 'base64')),
};

/** That the body is what the client has signed, if it has. @throws CloudError */
export function checkPayload(headers: IncomingHttpHeaders, body: Buffer): void {
  const announced = headers['x-amz-content-sha256'];
  if (announced === 'UNSIGNED-PAYLOAD' || announced === hash('sha256', body)) return;
  const message = "The provided 'x-amz-content-sha256' header does not match what was computed.";
  throw new CloudError('XAmzContentSHA256Mismatch', message);
}

/** Checks every digest that came with an upload. */
export async function checkDigests(headers: IncomingHttpHeaders, content: Buffer): Promise<ProvenChecksum | undefined> {
  const md5 = headers['content-md5'];
  if (md5 !== undefined && md5 !== hash('md5', content, 'base64')) throw badDigest('Content-MD5');
  for (const [algorithm, compute] of Object.entries(CHECKSUMS)) {
    const value = headers[`x-amz-checksum-${algorithm}`];
    if (typeof value !== 'string') continue;
    if ((await compute(content)) !== value) throw badDigest(algorithm.toUpperCase());
    return { algorithm, value };
  }
  return undefined;
}

type Checksum = { update(content: Buffer): void; digest(): Promise<Uint8Array> };

async function digestOf(checksum: Checksum, content: Buffer): Promise<string> {
  checksum.update(content);
  return Buffer.from(await checksum.digest()).toString('base64');
}

function badDigest(what: string): CloudError {
  return new CloudError('BadDigest', `The ${what} you specified did not match what we received.`);
}
