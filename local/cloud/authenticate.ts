import type { IncomingHttpHeaders } from 'node:http';
import { hash } from 'node:crypto';
import { CloudError } from './errors.ts';
import type { Keys } from './keys.ts';
import { verifySignature, type SignatureFault, type SignedRequest } from './signature.ts';

export type Service = 'ec2' | 'ecr' | 's3';

/** Checks that a call is from a client with the keys of this cloud. */
export type Authenticator = {
  /**
   * @param signedFor a region that the signature must name instead of the cloud's own
   * @throws CloudError as the service answers a call without a signature, or with one that is not right
   */
  (service: Service, request: SignedRequest, signedFor?: string): Promise<void>;
};

export function createAuthenticator(keys: Keys, region: string): Authenticator {
  return async (service, request, signedFor = region) => {
    if (service === 's3') refuseUnknownDigest(request.headers);
    const fault = await verifySignature(request, { keys, region: signedFor, service });
    if (fault !== undefined) throw errorOf(service, fault, signedFor);
    if (service !== 's3') refuseOtherBody(request);
  };
}

/** What a signature of S3 says about the body: its digest, or that it is not signed. Bodies in chunks are not taken. */
const PAYLOADS = /^([0-9a-f]{64}|UNSIGNED-PAYLOAD)$/;

function refuseUnknownDigest(headers: IncomingHttpHeaders): void {
  // A missing signature is reported first.
  if (headers.authorization === undefined || PAYLOADS.test(headerText(headers['x-amz-content-sha256']))) return;
  throw new CloudError('InvalidRequest', 'The x-amz-content-sha256 header is missing, or of a kind that is not known.');
}

/** Of EC2 and ECR, whose bodies are always signed. */
function refuseOtherBody({ headers, body = Buffer.alloc(0) }: SignedRequest): void {
  const announced = headers['x-amz-content-sha256'];
  if (announced === undefined || announced === hash('sha256', body)) return;
  throw new CloudError('SignatureDoesNotMatch', 'The body is not the one that x-amz-content-sha256 announces.', 403);
}

function headerText(value: string | string[] | undefined): string {
  return typeof value === 'string' ? value : '';
}

function errorOf(service: Service, fault: SignatureFault, region: string): CloudError {
  const [code, status, message] = ERRORS[service][fault];
  return new CloudError(code, message.replace('REGION', region), status);
}

type ErrorAnswer = readonly [code: string, status: number, message: string];

const WRONG_CREDENTIALS = 'AWS was not able to validate the provided access credentials';
const KEYS_HINT = 'the keys of this local cloud are in LOCAL_DIR/env';
const SCOPE_HINT = 'The signature must be for this service in REGION, over the host and all x-amz- headers.';

/** Codes and statuses are the services' own: SDKs decide by them whether to try again. */
const ERRORS: Readonly<Record<Service, Readonly<Record<SignatureFault, ErrorAnswer>>>> = {
  ec2: {
    missing: ['MissingAuthenticationToken', 403, 'Request is missing Authentication Token'],
    malformed: ['AuthFailure', 401, `${WRONG_CREDENTIALS}. ${SCOPE_HINT}`],
    'unknown-key': ['AuthFailure', 401, `${WRONG_CREDENTIALS}: ${KEYS_HINT}`],
    skewed: ['RequestExpired', 400, 'Request has expired.'],
    mismatch: ['AuthFailure', 401, WRONG_CREDENTIALS],
  },
  ecr: {
    missing: ['MissingAuthenticationTokenException', 400, 'Request is missing Authentication Token'],
    malformed: ['IncompleteSignatureException', 400, SCOPE_HINT],
    'unknown-key': [
      'UnrecognizedClientException',
      400,
      `The security token included in the request is invalid: ${KEYS_HINT}`,
    ],
    skewed: ['InvalidSignatureException', 400, 'Signature expired'],
    mismatch: ['InvalidSignatureException', 400, 'The request signature does not match the signature you provided.'],
  },
  s3: {
    missing: ['AccessDenied', 403, 'Access Denied'],
    malformed: ['AuthorizationHeaderMalformed', 400, SCOPE_HINT],
    'unknown-key': [
      'InvalidAccessKeyId',
      403,
      `The AWS Access Key Id you provided does not exist in our records: ${KEYS_HINT}`,
    ],
    skewed: ['RequestTimeTooSkewed', 403, 'The difference between the request time and the current time is too large.'],
    mismatch: [
      'SignatureDoesNotMatch',
      403,
      'The request signature we calculated does not match the signature you provided.',
    ],
  },
};
