import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { createDocument } from '../../src/configure-app.ts';
import { BODY_LIMITS } from '../../src/http/body-limits.ts';
import { type Api, startApi } from '../support/api.ts';
import { createEmptyDatabase, dropDatabase } from '../support/database.ts';
import { freePort } from '../../local/ports.ts';
import { startMain } from '../support/process.ts';

const ADMIN_TOKEN = 'the-token-of-the-operator';
const MIB = 1024 * 1024;
const JSON_TYPE = 'content-type: application/json';
/** How a client announces a body that it then holds back. */
const HELD_BACK = ['content-length: 1048576', 'transfer-encoding: chunked'];

describe('a body', () => {
  let api: Api;
  let databaseUrl: string;
  let viewer: string;
  const sockets: Socket[] = [];

  beforeAll(async () => {
    databaseUrl = await createEmptyDatabase();
    api = await startApi({ databaseUrl, env: { ADMIN_TOKEN, ROLE: 'api' } });
    const made = await api.request('POST', '/v1/tokens', { body: { name: 'viewer', role: 'viewer' } });
    viewer = (made.body as { token: string }).token;
  });

  afterAll(async () => {
    sockets.forEach((socket) => socket.destroy());
    await api.close();
    await dropDatabase(databaseUrl);
  });

  /** A connection that has sent the head of a request, and nothing of its body. */
  function open(line: string, ...headers: string[]): Socket {
    const { hostname, port } = new URL(api.url);
    const socket = connect(Number(port), hostname);
    sockets.push(socket.on('error', () => undefined));
    socket.write([`${line} HTTP/1.1`, 'host: api', ...headers, '', ''].join('\r\n'));
    return socket;
  }

  async function statusOf(socket: Socket): Promise<number> {
    const [answer] = (await once(socket, 'data')) as [Buffer];
    const status = Number(/^HTTP\/1.1 (\d{3})/.exec(answer.toString())?.[1]);
    if (status >= 400) expect(answer.toString()).toContain('content-type: application/problem+json');
    return status;
  }

  const refused = (): [line: string, status: number, ...headers: string[]][] => [
    ...changingRoutes(api).map(([method, path]) => [`${method} ${path}`, 401, JSON_TYPE] as [string, number, string]),
    ['POST /v1/jobs', 401, JSON_TYPE, 'authorization: Bearer wrong'],
    ['POST /v1/jobs', 401, JSON_TYPE, `authorization: Bearer sch_00000000_${'0'.repeat(64)}`],
    ['POST /v1/jobs', 403, JSON_TYPE, `authorization: Bearer ${viewer}`],
    ['POST /v1/jobs?x=1', 401, JSON_TYPE],
    ['POST /%761/jobs', 401, JSON_TYPE],
    ['POST /nowhere', 404, JSON_TYPE],
    ['PUT /v1/jobs', 404, JSON_TYPE],
    ['PROPFIND /v1/jobs', 404, JSON_TYPE],
    ['POST /agent/v1/orders/1/result', 401, 'content-type: application/octet-stream'],
    ['POST /agent/v1/orders/1/result', 401, JSON_TYPE, `authorization: Bearer ${'ab'.repeat(32)}`],
    ['POST /agent/v1/orders/1/logs?since=0', 401, 'content-type: application/vnd.docker.multiplexed-stream'],
    ['POST /docs', 404, JSON_TYPE],
  ];

  it.each(HELD_BACK)('held back (%s) is not waited for where the request is refused', async (announced) => {
    for (const [line, status, ...headers] of refused()) {
      expect([line, await statusOf(open(line, announced, ...headers))]).toEqual([line, status]);
    }
  });

  it('is waited for where somebody may send it', async () => {
    const body = JSON.stringify({ name: 'awaited' });
    const socket = open(
      'POST /v1/jobs',
      JSON_TYPE,
      `content-length: ${body.length}`,
      `authorization: Bearer ${ADMIN_TOKEN}`,
    );
    socket.write(body);
    expect(await statusOf(socket)).toBe(201);
  });

  it('of a registration is bounded by what a registration may have', async () => {
    const type = 'content-type: application/x-www-form-urlencoded';
    expect(await statusOf(open('POST /agent/v1/register', type, `content-length: ${BODY_LIMITS.fields + 1}`))).toBe(
      413,
    );
    const socket = open('POST /agent/v1/register', type, `content-length: ${BODY_LIMITS.fields}`);
    socket.write('x'.repeat(BODY_LIMITS.fields));
    expect(await statusOf(socket)).toBe(422);
  });

  it('is small but where a definition is expected', async () => {
    const authorization = `authorization: Bearer ${ADMIN_TOKEN}`;
    for (const [method, path, isDefinition] of changingRoutes(api)) {
      const limit = isDefinition ? MIB : 32 * 1024;
      const line = `${method} ${path}`;
      expect([line, await statusOf(open(line, JSON_TYPE, authorization, `content-length: ${limit + 1}`))]).toEqual([
        line,
        413,
      ]);
      const socket = open(line, JSON_TYPE, authorization, `content-length: ${limit}`);
      // No JSON, so that it is refused once it was read.
      socket.write('x'.repeat(limit));
      expect([line, await statusOf(socket)]).toEqual([line, 400]);
    }
  });

  it('that was refused may still come in, and of a small one the connection goes on', async () => {
    const socket = open('POST /v1/jobs', JSON_TYPE, `content-length: ${BODY_LIMITS.fields}`);
    expect(await statusOf(socket)).toBe(401);
    const next = ['GET /health/live HTTP/1.1', 'host: api', '', ''].join('\r\n');
    socket.write(Buffer.concat([Buffer.alloc(BODY_LIMITS.fields, 'x'), Buffer.from(next)]));
    expect(await statusOf(socket)).toBe(200);
  });

  it('that was refused may still come in, and of a large one the connection ends, as its answer says', async () => {
    const socket = open('POST /v1/jobs', JSON_TYPE, `content-length: ${MIB}`);
    const [answer] = (await once(socket, 'data')) as [Buffer];
    expect(answer.toString()).toMatch(/^HTTP\/1.1 401 .*\r\nconnection: close\r\n/s);
    expect(answer.toString()).toMatch(/\}\n$/);
    const ended = once(socket, 'end');
    socket.end(Buffer.alloc(MIB, 'x'));
    await ended;
  });

  it('that was refused and has no end ends the connection, and is nowhere kept', async () => {
    const socket = open('POST /v1/jobs', JSON_TYPE, 'transfer-encoding: chunked');
    expect(await statusOf(socket)).toBe(401);
    const chunk = Buffer.concat([Buffer.from('10000\r\n'), Buffer.alloc(65_536, 'x'), Buffer.from('\r\n')]);
    const closed = new Promise((done, fail) => {
      socket.once('close', done);
      AbortSignal.timeout(10_000).addEventListener('abort', fail);
    });
    const write = (): void => {
      while (!socket.destroyed && socket.write(chunk));
      socket.once('drain', write);
    };
    write();
    // One that has no end here would hold up the end of the API, too: while it is paused nobody sees its client leave.
    await closed.finally(() => api.app.getHttpServer().closeAllConnections());
    // Beyond what the API took there is what the kernel's buffers on both sides hold.
    expect(socket.bytesWritten).toBeLessThan(32 * MIB);
  });

  it('is asked for by 100 Continue only where it will be read', async () => {
    const expecting = ['expect: 100-continue', JSON_TYPE, 'content-length: 20'];
    expect(await statusOf(open('POST /v1/jobs', ...expecting))).toBe(401);
    const socket = open('POST /v1/jobs', ...expecting, `authorization: Bearer ${ADMIN_TOKEN}`);
    expect(await statusOf(socket)).toBe(100);
    socket.write('{"name":"continued"}');
    expect(await statusOf(socket)).toBe(201);
  });
});

/** Of the document: method, path, and whether a whole definition may be sent. */
function changingRoutes(api: Api): [method: string, path: string, isDefinition: boolean][] {
  const { paths } = createDocument(api.app);
  return Object.entries(paths).flatMap(([path, item]) =>
    Object.entries(item as Record<string, { requestBody?: unknown }>)
      .filter(([method]) => method !== 'get')
      .map(([method, operation]) => {
        const isDefinition = /CreateJob|JobPatch|CreateDeployment|PutRegistry/.test(
          JSON.stringify(operation.requestBody ?? {}),
        );
        return [method.toUpperCase(), path.replace(/\{\w+\}/g, '1'), isDefinition] as [string, string, boolean];
      }),
  );
}

describe('lines of the log', () => {
  it('that anybody can bring about are one a second of a kind, with the count of the others', async () => {
    const databaseUrl = await createEmptyDatabase();
    const port = await freePort();
    const ENCRYPTION_KEY = Buffer.alloc(32, 1).toString('base64');
    const env = { DATABASE_URL: databaseUrl, ENCRYPTION_KEY, PORT: String(port), ADMIN_TOKEN, ROLE: 'api' };
    const program = startMain(env);
    try {
      await program.line(({ message }) => message === 'listening');
      const url = `http://127.0.0.1:${port}`;
      const startedAt = performance.now();
      const ask = async (path: string) => await (await fetch(`${url}${path}`, { method: 'POST' })).arrayBuffer();
      for (let n = 0; n < 400; n += 1) await ask(['/v1/jobs', '/nowhere', '/agent/v1/register', '/%'][n % 4]!);
      const seconds = Math.ceil((performance.now() - startedAt) / 1000);
      const authorization = `Bearer ${ADMIN_TOKEN}`;
      await fetch(`${url}/v1/jobs/last`, { method: 'DELETE', headers: { authorization, 'x-request-id': 'last' } });
      await program.line(({ requestId, message }) => requestId === 'last' && message === 'request answered');
      const kinds = new Set(program.lines.map((line) => `${line.message} ${line['status'] as number}`));
      expect(program.lines.length).toBeLessThanOrEqual(kinds.size * (seconds + 1));
    } finally {
      program.process.kill('SIGTERM');
      await program.ended;
      await dropDatabase(databaseUrl);
    }
  });
});
