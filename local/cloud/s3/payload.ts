import { createHash } from 'node:crypto';
import type { IncomingHttpHeaders } from 'node:http';
import { CloudError } from '../errors.ts';
import { isSameText } from '../keys.ts';
import type { VerifiedSignature } from '../signature.ts';
import { decodeAwsChunked } from './body.ts';

/** Checks that the body is what the client has signed, as far as it is signed. @throws CloudError */
export async function checkPayload(
  headers: IncomingHttpHeaders,
  raw: Buffer,
  verified: VerifiedSignature,
): Promise<void> {
  const announced = String(headers['x-amz-content-sha256']);
  if (/^[0-9a-f]{64}$/.test(announced) && announced !== sha256(raw)) {
    const message = "The provided 'x-amz-content-sha256' header does not match what was computed.";
    throw new CloudError('XAmzContentSHA256Mismatch', message);
  }
  if (announced.startsWith('STREAMING-AWS4-')) await checkChunks(raw, verified, announced.endsWith('-TRAILER'));
}

/** Each chunk is signed, and with it the signature before it: none can be exchanged, left out or added. */
async function checkChunks(raw: Buffer, verified: VerifiedSignature, hasTrailer: boolean): Promise<void> {
  const { chunks, trailers } = decodeAwsChunked(raw);
  let before = verified.signature;
  for (const chunk of chunks) {
    const expected = await verified.signText(['AWS4-HMAC-SHA256-PAYLOAD', before, sha256(''), sha256(chunk.data)]);
    if (!isSameText(expected, chunk.signature)) throw mismatch();
    before = expected;
  }
  if (!hasTrailer) {
    if (trailers.size > 0) throw mismatch();
    return;
  }
  const { [TRAILER_SIGNATURE]: given = '', ...signed } = Object.fromEntries(trailers);
  const lines = Object.entries(signed).map(([name, value]) => `${name}:${value}\n`);
  const expected = await verified.signText(['AWS4-HMAC-SHA256-TRAILER', before, sha256(lines.join(''))]);
  if (!isSameText(expected, given)) throw mismatch();
}

const TRAILER_SIGNATURE = 'x-amz-trailer-signature';

function sha256(data: string | Buffer): string {
  return createHash('sha256').update(data).digest('hex');
}

function mismatch(): CloudError {
  const message = 'The signature of a chunk does not match the one that we calculated.';
  return new CloudError('SignatureDoesNotMatch', message, 403);
}
