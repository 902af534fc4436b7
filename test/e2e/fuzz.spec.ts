import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { JOB_EXAMPLE } from '../../src/jobs/job.examples.ts';
import { readDocument } from '../fuzz/document.ts';
import { checkAnswer } from '../fuzz/check-answer.ts';
import { reportOf } from '../fuzz/report.ts';
import type { FuzzRequest } from '../fuzz/request.ts';
import { type FuzzOptions, type FuzzResult, runFuzz } from '../fuzz/run.ts';
import type { Outcome } from '../fuzz/send.ts';

// A sample of `npm run fuzz`; docs/evidence.md says how to run it for longer.
describe('requests nobody thought of', () => {
  let directory: string;
  let result: FuzzResult;
  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'scheduler-api-fuzz-'));
    const options: FuzzOptions = {
      seed: 7,
      requests: 3_000,
      senders: 8,
      limitSeconds: 12,
      directory,
      signal: new AbortController().signal,
      say: () => undefined,
    };
    result = await runFuzz(options);
    if (result.findings.length > 0) console.log(reportOf(options, result));
  }, 180_000);
  afterAll(() => rm(directory, { recursive: true, force: true }));

  it('are answered properly, each of them, and leave nothing behind', () => {
    expect(result.findings.map(({ where, fault }) => `${where}: ${fault}`)).toEqual([]);
  });

  it('are many, to every route, and of many kinds', () => {
    // Else it would prove nothing. A busy machine sends fewer than it is to.
    expect(result.requests).toBeGreaterThanOrEqual(500);
    expect(result.coverage.filter(({ reached }) => reached.length === 0)).toEqual([]);
    const statuses = result.byStatus.map(([status]) => status);
    const wanted = ['200', '201', '202', '204', '400', '401', '403', '404', '409', '422'];
    expect(wanted.filter((status) => !statuses.includes(status))).toEqual([]);
    expect(result.agents).toBeGreaterThan(0);
  });
});

describe('the check of answers', () => {
  const document = readDocument();
  const request: FuzzRequest = {
    operation: document.operations.find(({ id }) => id === 'GET /v1/fleet'),
    method: 'GET',
    path: '/v1/fleet',
    headers: [['authorization', 'Bearer x']],
    body: undefined,
  };
  const problem = { type: '/problems/unauthorized', title: 'x', status: 401, instance: 'urn:request:r1' };
  const answer = (status: number, body: unknown, headers: Record<string, string> = {}): Outcome => ({
    kind: 'answer',
    status,
    headers: { 'content-type': 'application/problem+json', 'x-request-id': 'r1', ...headers },
    body: Buffer.from(typeof body === 'string' ? body : JSON.stringify(body)),
  });
  const json = { 'content-type': 'application/json; charset=utf-8' };
  const challenge = { 'www-authenticate': 'Bearer' };

  it.each<[string, Outcome, RegExp | undefined]>([
    ['a problem as it should be', answer(401, problem, challenge), undefined],
    ['a wait', { kind: 'parked' }, undefined],
    ['a failure', answer(500, { ...problem, status: 500 }), /^status 500$/],
    ['no answer', { kind: 'silent', detail: 'no answer in 1 ms' }, /no answer/],
    ['an end without an answer', { kind: 'cut', detail: 'ECONNRESET' }, /cut off/],
    ['a status nobody declared', answer(418, { ...problem, status: 418 }), /418 is not declared for GET \/v1\/fleet/],
    ['a page instead of a problem', answer(401, '<html>', { 'content-type': 'text/html' }), /is no problem/],
    ['a problem cut short', answer(401, '{"type":', challenge), /not JSON/],
    ['a problem without its fields', answer(401, { status: 401 }, challenge), /not valid/],
    ['a problem of another status', answer(403, problem, challenge), /of status 401/],
    ['the problem of another request', answer(401, { ...problem, instance: 'urn:request:r2' }, challenge), /r2/],
    ['no challenge', answer(401, problem), /WWW-Authenticate/],
    ['no time to come again', answer(429, { ...problem, status: 429 }), /Retry-After/],
    ['a body of another shape', answer(200, { instances: 'many' }, json), /not as declared/],
    ['a body of another type', answer(200, 'x', { 'content-type': 'text/plain' }), /not declared/],
  ])('finds what is wrong, if it is: %s', (_what, outcome, fault) => {
    const found = checkAnswer(document, request, outcome);
    if (fault) expect(found).toMatch(fault);
    else expect(found).toBeUndefined();
  });

  it('finds what was accepted and is not there', () => {
    const operation = document.operations.find(({ id }) => id === 'POST /v1/jobs');
    const made = { ...request, operation, method: 'POST', path: '/v1/jobs' };
    const example = JSON.parse(JSON.stringify(JOB_EXAMPLE)) as Record<string, unknown>;
    const check = (sent: object, answered: object) =>
      checkAnswer(
        document,
        { ...made, body: Buffer.from(JSON.stringify(sent)) },
        answer(201, { ...example, ...answered }, json),
      );
    const env = { constructor: 'c' };
    expect(check({ env }, { env })).toBeUndefined();
    expect(check({ env }, { env: {} })).toMatch(/env "constructor"/);
    expect(check({ secrets: env }, { secrets: ['constructor'] })).toBeUndefined();
    expect(check({ secrets: env }, { secrets: [] })).toMatch(/secret "constructor"/);
  });
});
