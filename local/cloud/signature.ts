import type { IncomingHttpHeaders } from 'node:http';
import { Sha256 } from '@smithy/core/checksum';
import { SignatureV4 } from '@smithy/signature-v4';
import { isSameText, type Keys } from './keys.ts';

export type SignedRequest = {
  readonly method: string;
  /** As received, still percent-encoded. */
  readonly path: string;
  /** As parsed for the call: only that is verified, whatever else its text could mean. */
  readonly query: URLSearchParams;
  readonly headers: IncomingHttpHeaders;
  /** Not needed where `x-amz-content-sha256` is given: then only the header is verified, not the body. */
  readonly body?: Buffer;
};

/** What the signature must be made with and for. */
export type Signatory = {
  readonly keys: Pick<Keys, 'accessKeyId' | 'secretAccessKey'>;
  readonly region: string;
  readonly service: 'ec2' | 'ecr' | 's3';
};

/**
 * - `missing`: no `Authorization: AWS4-HMAC-SHA256 …`; one in the query does not count
 * - `malformed`: not of this region and service, without a date, or without a header that must be signed
 * - `unknown-key`, `mismatch`: another key, or another secret or request
 * - `skewed`: signed more than a quarter of an hour ago, or from now
 */
export type SignatureFault = 'missing' | 'malformed' | 'unknown-key' | 'skewed' | 'mismatch';

/** Signs the request again, as AWS Signature Version 4 says, and compares. @returns undefined when it is right */
export async function verifySignature(
  request: SignedRequest,
  signatory: Signatory,
  now = Date.now(),
): Promise<SignatureFault | undefined> {
  const { headers } = request;
  const given = readAuthorization(headers.authorization);
  if (given === undefined) return headers.authorization?.startsWith('AWS4-') === true ? 'malformed' : 'missing';
  const date = readDate(headers['x-amz-date']);
  const { keys, region, service } = signatory;
  if (date === undefined || given.scope !== `${date.text.slice(0, 8)}/${region}/${service}/aws4_request`)
    return 'malformed';
  if (Object.keys(headers).some((name) => mustBeSigned(name) && !given.signedHeaders.includes(name)))
    return 'malformed';
  if (!isSameText(given.accessKeyId, keys.accessKeyId)) return 'unknown-key';
  if (Math.abs(now - date.time.getTime()) > MOST_SKEW_MS) return 'skewed';

  const signer = new SignatureV4({
    credentials: keys,
    region,
    service,
    sha256: Sha256,
    // S3 takes paths as they are; the others are always at `/`.
    uriEscapePath: false,
    applyChecksum: false,
  });
  const signed = await signer.sign(toSign(request, given.signedHeaders), {
    signingDate: date.time,
    // Also those that this library would leave out when it signs: the client has signed them.
    signableHeaders: new Set(given.signedHeaders),
  });
  const expected = readAuthorization(signed.headers['authorization'])?.signature ?? '';
  return expected === '' || !isSameText(expected, given.signature) ? 'mismatch' : undefined;
}

/** As AWS allows. */
const MOST_SKEW_MS = 15 * 60_000;

type Authorization = {
  readonly accessKeyId: string;
  readonly scope: string;
  readonly signedHeaders: readonly string[];
  readonly signature: string;
};

function readAuthorization(header: string | undefined): Authorization | undefined {
  const match =
    /^AWS4-HMAC-SHA256 +Credential=([\w-]{1,128})\/([^, ]{1,128}), *SignedHeaders=([\w;-]+), *Signature=([0-9a-f]{64})$/.exec(
      header ?? '',
    );
  if (match === null) return undefined;
  const [, accessKeyId = '', scope = '', names = '', signature = ''] = match;
  return { accessKeyId, scope, signedHeaders: names.split(';'), signature };
}

function readDate(header: string | string[] | undefined): { text: string; time: Date } | undefined {
  const parts = /^(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z$/.exec(typeof header === 'string' ? header : '');
  if (parts === null) return undefined;
  const [text, year, month, day, hour, minute, second] = parts;
  const time = new Date(`${year}-${month}-${day}T${hour}:${minute}:${second}Z`);
  return Number.isNaN(time.getTime()) ? undefined : { text, time };
}

/** Headers that decide what a request means; AWS refuses them unsigned as well. */
function mustBeSigned(name: string): boolean {
  return name === 'host' || name.startsWith('x-amz-');
}

function toSign({ method, path, query, headers, body }: SignedRequest, signedHeaders: readonly string[]) {
  const signed = signedHeaders.map((name) => [name, text(headers[name])] as const);
  return {
    method,
    protocol: 'http:',
    hostname: 'localhost',
    path,
    query: Object.fromEntries([...new Set(query.keys())].map((name) => [name, query.getAll(name)])),
    headers: Object.fromEntries(signed.filter((header): header is [string, string] => header[1] !== undefined)),
    body,
  };
}

function text(value: string | string[] | undefined): string | undefined {
  const joined = Array.isArray(value) ? value.join(',') : value;
  // Node reads headers as Latin-1; clients send, and sign, UTF-8.
  return joined === undefined ? undefined : Buffer.from(joined, 'latin1').toString();
}
