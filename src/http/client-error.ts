import { randomUUID } from 'node:crypto';
import { STATUS_CODES } from 'node:http';
import type { Duplex } from 'node:stream';
import { Problem, PROBLEM_MEDIA_TYPE, type ProblemCode, problemBody } from './problem.js';
import { REQUEST_ID_HEADER } from './request-id.js';

/**
 * Answers what never became a request: no HTTP, headers too large, or too slow. The framework does not run then, so the
 * answer is written by hand, and the connection ends with it.
 */
export function answerClientError(error: NodeJS.ErrnoException, socket: Duplex): void {
  if (error.code === 'ECONNRESET' || socket.destroyed) return;
  if (socket.writable) socket.end(answerTo(error.code));
  else socket.destroy();
}

function answerTo(errorCode: string | undefined): string {
  const [code, detail] = FAULTS[errorCode ?? ''] ?? OTHER;
  const problem = new Problem(code, detail);
  const id = randomUUID();
  const body = `${JSON.stringify(problemBody(problem, id))}\n`;
  return [
    `HTTP/1.1 ${problem.status} ${STATUS_CODES[problem.status] ?? ''}`,
    `content-type: ${PROBLEM_MEDIA_TYPE}`,
    `content-length: ${Buffer.byteLength(body)}`,
    `${REQUEST_ID_HEADER}: ${id}`,
    'connection: close',
    '',
    body,
  ].join('\r\n');
}

const FAULTS: Readonly<Record<string, readonly [ProblemCode, string]>> = {
  HPE_HEADER_OVERFLOW: ['headers-too-large', 'line and headers of a request may take 16 KiB'],
  ERR_HTTP_REQUEST_TIMEOUT: ['request-timeout', 'the request took too long to arrive'],
};
const OTHER = ['malformed-request', 'this is not a request of HTTP/1.1'] as const;
