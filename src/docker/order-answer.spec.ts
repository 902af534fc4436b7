import { describe, expect, it, jest } from '@jest/globals';
import fc from 'fast-check';
import { toJsonb } from '../database/to-jsonb.js';
import { answerBytesOf, bodyToStore, LOG_LINES, MOST_ANSWER_BYTES, readAnswer } from './order-answer.js';

const PURPOSES = ['pull', 'inspect-image', 'inspect-container', 'wait', 'logs', 'probe', 'create', 'start', 'stop'];
const bytes = (text: string) => new TextEncoder().encode(text);
const ID = `sha256:${'b'.repeat(64)}`;
const DIGEST = `sha256:${'a'.repeat(64)}`;

describe('the answer to a pull', () => {
  it.each([
    ['{"status":"Pulling from library/nginx","id":"1"}\r\n{"status":"Status: Downloaded newer image"}\r\n', {}],
    ['rtial line"}\n{"status":"Digest: sha256:1"}\n', {}],
    [
      '{"status":"Pulling"}\n{"errorDetail":{"message":"manifest for x:1 not found: manifest unknown"},"error":"e"}\n',
      { pullFailure: 'not-found', message: 'manifest for x:1 not found: manifest unknown' },
    ],
    [
      `{"message":"pull access denied for x, repository does not exist or may require 'docker login'"}`,
      {
        pullFailure: 'not-found',
        message: `pull access denied for x, repository does not exist or may require 'docker login'`,
      },
    ],
    [
      '{"message":"unauthorized: authentication required"}\n',
      { pullFailure: 'unauthorized', message: 'unauthorized: authentication required' },
    ],
    [
      '{"error":"write /var/lib/docker: no space left on device"}',
      { pullFailure: 'other', message: 'write /var/lib/docker: no space left on device' },
    ],
    [
      `${'\n'.repeat(10_000)}{"error":"manifest unknown"}\n\n`,
      { pullFailure: 'not-found', message: 'manifest unknown' },
    ],
  ])('%#: %.60j', (body, expected) => {
    expect(readAnswer('pull', bytes(body))).toEqual(expected);
  });

  it.each<[string, string, number | undefined]>([
    [
      'busy',
      'toomanyrequests: You have reached your unauthenticated pull rate limit. https://www.docker.com/increase-rate-limit',
      undefined,
    ],
    ['busy', 'toomanyrequests: retry-after: 1.5m, allowed: 44000/minute', 90],
    ['busy', 'toomanyrequests: retry-after: 629.125µs, allowed: 44000/minute', 0],
    ['busy', 'too many requests, Retry-After: 30', 30],
    ['busy', 'too many requests, Retry-After: 99999', 900],
    ['busy', 'received unexpected HTTP status: 503 Service Unavailable', undefined],
    [
      'busy',
      'failed to resolve reference "r.example/app:1": unexpected status from HEAD request to https://r.example/v2/app/manifests/1: 502 Bad Gateway',
      undefined,
    ],
    ['busy', 'Get "https://r.example/v2/": net/http: TLS handshake timeout', undefined],
    ['busy', 'Get "https://r.example/v2/": EOF', undefined],
    [
      'unreachable',
      'Get "https://ngnix.example/v2/": dial tcp: lookup ngnix.example on 127.0.0.53:53: no such host',
      undefined,
    ],
    ['unreachable', 'Get "http://localhost:5000/v2/": dial tcp 127.0.0.1:5000: connect: connection refused', undefined],
    ['not-found', 'manifest for app:503 not found: manifest unknown: manifest unknown', undefined],
    [
      'not-found',
      'unexpected status from GET request to https://r.example/v2/app/manifests/503: 404 Not Found',
      undefined,
    ],
    ['unauthorized', 'Head "https://r.example/v2/app/manifests/429": no basic auth credentials', undefined],
    ['other', 'write /var/lib/docker/tmp/503: no space left on device', undefined],
  ])('tells apart what is %s: %.80s', (pullFailure, message, retryAfterSeconds) => {
    const answer = readAnswer('pull', bytes(JSON.stringify({ errorDetail: { message }, error: message })));
    expect(answer).toEqual({ pullFailure, message, ...(retryAfterSeconds !== undefined && { retryAfterSeconds }) });
  });
});

it('does not tell deployers which role of the operator’s may not pull from ECR', () => {
  const message =
    'denied: User: arn:aws:sts::123456789012:assumed-role/api/i-0 is not authorized to perform: ecr:BatchGetImage on resource: arn:aws:ecr:eu-west-1:123456789012:repository/app because no identity-based policy allows the ecr:BatchGetImage action';
  expect(readAnswer('pull', bytes(JSON.stringify({ error: message })))).toEqual({
    pullFailure: 'unauthorized',
    message:
      'denied: User: arn:… is not authorized to perform: ecr:BatchGetImage on resource: arn:… because no identity-based policy allows the ecr:BatchGetImage action',
  });
});

describe('an answer', () => {
  it('about an image tells its id, and what registries call it', () => {
    const body = { Id: ID, RepoDigests: [`mirror.example:5000/nginx@${DIGEST}`, `nginx@${DIGEST}`], Config: {} };
    expect(readAnswer('inspect-image', bytes(JSON.stringify(body)))).toEqual({
      image: { id: ID, digests: [`mirror.example:5000/nginx@${DIGEST}`, `nginx@${DIGEST}`] },
    });
    expect(readAnswer('inspect-image', bytes(`{"Id":"${ID}","RepoDigests":null}`))).toEqual({
      image: { id: ID, digests: [] },
    });
  });

  it.each([
    'nginx@evil',
    `nginx@sha256:${'A'.repeat(64)}`,
    `nginx:1@${DIGEST}`,
    `NGINX@${DIGEST}`,
    `nginx@${DIGEST}\n`,
    `nginx@${DIGEST}@${DIGEST}`,
    `${'n'.repeat(400)}@${DIGEST}`,
    DIGEST,
    7,
    null,
  ])('never holds a digest that Docker would not take: %p', (digest) => {
    const body = bytes(JSON.stringify({ Id: ID, RepoDigests: [digest] }));
    expect(readAnswer('inspect-image', body)).toEqual({ image: { id: ID, digests: [] } });
  });

  it.each(['sha256:1', 'x', `${ID}\n`, '', 7])('about an image whose id is none says nothing: %p', (id) => {
    expect(readAnswer('inspect-image', bytes(JSON.stringify({ Id: id })))).toEqual({});
  });

  it('about an exit tells its code, if it is one', () => {
    expect(readAnswer('wait', bytes('{"StatusCode":3}'))).toEqual({ exitCode: 3 });
    expect(readAnswer('wait', bytes('{"StatusCode":125,"Error":{"Message":"no such file"}}'))).toEqual({
      exitCode: 125,
    });
    for (const code of ['99999999999', '1e400', '-1e400', '0.5', '"3"', 'null', '[]']) {
      expect(readAnswer('wait', bytes(`{"StatusCode":${code}}`))).toEqual({});
    }
  });

  it('about a container tells how it stands', () => {
    const State = { Status: 'exited', Running: false, ExitCode: 137, OOMKilled: true, Error: '' };
    expect(readAnswer('inspect-container', bytes(JSON.stringify({ Id: 'c', State })))).toEqual({
      container: { isRunning: false, exitCode: 137, isOutOfMemory: true },
    });
  });

  it('of which agents had to cut the beginning says so', () => {
    const whole = JSON.stringify({ Id: ID, State: { Running: false }, Config: { Env: ['A='.padEnd(MIB, '&')] } });
    for (const purpose of ['inspect-image', 'inspect-container', 'inspect-exit', 'create']) {
      const answer = readAnswer(purpose, bytes(whole));
      expect(answer).toEqual({ message: expect.stringMatching(/longer than what is kept of it/) });
    }
    expect(readAnswer('inspect-image', bytes('no JSON'))).toEqual({});
  });

  it('that is an error tells what Docker said, of a probe what the agent saw', () => {
    expect(readAnswer('start', bytes('{"message":"No such container: job"}\n'))).toEqual({
      message: 'No such container: job',
    });
    expect(readAnswer('probe', bytes('HTTP 500'))).toEqual({ message: 'HTTP 500' });
  });

  it('from a log has its last lines, and nothing Postgres refuses', () => {
    const log = Array.from({ length: 80 }, (_, n) => `line ${n}\0\ud800\n`).join('');
    const { lines } = readAnswer('logs', bytes(log));
    expect(lines).toHaveLength(LOG_LINES);
    expect(lines?.at(-1)).toEqual({ stream: 'stdout', line: 'line 79\ufffd\ufffd' });
  });

  it('is stored without the environment of a container, whatever is left of it', () => {
    const answer = { Id: 'c1', State: { Running: true, ExitCode: 0, Env: 'hush' }, Config: { Env: ['A=hush'] } };
    for (const text of [JSON.stringify(answer), 'ush"],"Image":"web:1"}}', '{"Config":{"Env":["A=hush"', '["Env"']) {
      for (const purpose of ['inspect-container', 'inspect-image']) {
        const stored = bodyToStore(purpose, bytes(text), readAnswer(purpose, bytes(text)));
        expect(new TextDecoder().decode(stored)).not.toContain('hush');
        expect(readAnswer(purpose, stored)).toEqual(readAnswer(purpose, bytes(text)));
      }
    }
  });
});

describe('whatever an instance sends', () => {
  it('is read without an error, and what was read fits into a row', () => {
    fc.assert(
      fc.property(
        fc.constantFrom(...PURPOSES),
        fc.oneof(fc.string({ unit: 'binary' }).map(bytes), fc.json().map(bytes), fc.uint8Array(), hostile()),
        (purpose, body) => {
          const answer = readAnswer(purpose, body);
          expect(toJsonb(answer) === JSON.stringify(answer)).toBe(true);
          expect(Buffer.byteLength(JSON.stringify({ ...answer, lines: [] }))).toBeLessThan(16_384);
          expect(bodyToStore(purpose, body, answer).length).toBeLessThanOrEqual(answerBytesOf(purpose));
        },
      ),
      { numRuns: 300 },
    );
  });

  it.each(PURPOSES)('to an order of %s costs no more than its bytes', (purpose) => {
    const parse = jest.spyOn(JSON, 'parse');
    try {
      for (const [name, body] of Object.entries(HOSTILE)) {
        parse.mockClear();
        const began = process.cpuUsage();
        readAnswer(purpose, body);
        const { user, system } = process.cpuUsage(began);
        const parsed = parse.mock.calls.reduce((sum, [text]) => sum + text.length, 0);
        expect([name, parse.mock.calls.length > 64, parsed > answerBytesOf(purpose)]).toEqual([name, false, false]);
        // Far above what it takes, far below the eight seconds it once did.
        expect((user + system) / 1000).toBeLessThan(500);
      }
    } finally {
      parse.mockRestore();
    }
  });
});

const MIB = 1_048_576;
const HOSTILE: Readonly<Record<string, Uint8Array>> = {
  'empty lines': bytes('\n'.repeat(MIB)),
  'empty objects': bytes('{}\n'.repeat(MIB / 3)),
  'objects that are none': bytes('{\n'.repeat(MIB / 2)),
  'errors of no text': bytes('{"error":1}\n'.repeat(MIB / 12)),
  arrays: bytes('['.repeat(MIB)),
  objects: bytes('{"a":'.repeat(MIB / 5)),
  'a long key': bytes(`{"${'k'.repeat(MIB)}":1}`),
  'many keys': bytes(`{${Array.from({ length: 20_000 }, (_, n) => `"k${n}":0`).join(',')}}`),
  'many digests': bytes(JSON.stringify({ Id: ID, RepoDigests: Array(3_000).fill(`nginx@${DIGEST}`) })),
  'a huge number': bytes(`{"StatusCode":${'9'.repeat(MIB)}}`),
  nuls: new Uint8Array(MIB),
  'half surrogates': bytes(`{"message":"${'\\ud800'.repeat(2_000)}"}`),
  'what is no text': new Uint8Array(MIB).fill(0xff),
  'small frames': new Uint8Array(MIB).map((_, index) => (index % 9 === 0 || index % 9 === 7 ? 1 : 0)),
};

function hostile() {
  return fc
    .tuple(fc.constantFrom(...Object.values(HOSTILE)), fc.nat(MOST_ANSWER_BYTES))
    .map(([body, cut]) => body.subarray(cut));
}
