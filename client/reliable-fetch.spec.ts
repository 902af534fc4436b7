import { once } from 'node:events';
import { createServer, type IncomingMessage, type RequestListener, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { afterEach, describe, expect, it } from '@jest/globals';
import { reliableFetch, type Retry } from './reliable-fetch.js';

setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;

describe('reliableFetch', () => {
  let server: Server | undefined;
  afterEach(() => {
    server?.closeAllConnections();
    server?.close();
  });

  async function serve(...answers: RequestListener[]): Promise<{ url: string; requests: IncomingMessage[] }> {
    const requests: IncomingMessage[] = [];
    server = createServer((request, response) => {
      requests.push(request);
      (answers[requests.length - 1] ?? answers.at(-1))?.(request, response);
    }).listen(0, '127.0.0.1');
    await once(server, 'listening');
    return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, requests };
  }

  const ok: RequestListener = (_request, response) => response.end('{}');
  const lost: RequestListener = (request) => request.socket.destroy();
  const cut: RequestListener = (_request, response) => {
    response.writeHead(200, { 'content-length': 100 });
    response.write('{"half":', () => response.destroy());
  };
  const answer =
    (status: number, headers: Record<string, string> = {}): RequestListener =>
    (_request, response) =>
      response.writeHead(status, headers).end('{}');

  it('repeats a change with one key, until it is answered', async () => {
    const { url, requests } = await serve(lost, answer(503), cut, answer(409, { 'retry-after': '0' }), answer(201));
    const retries: Retry[] = [];
    const call = reliableFetch({ onRetry: (retry) => retries.push(retry) });
    const response = await call(`${url}/v1/jobs`, { method: 'POST', body: '{}' });
    expect(response.status).toBe(201);
    expect(requests).toHaveLength(5);
    expect(new Set(requests.map(({ headers }) => headers['idempotency-key'])).size).toBe(1);
    expect(requests[0]!.headers['idempotency-key']).toMatch(/^[0-9a-f-]{36}$/);
    expect(retries.map(({ status }) => status)).toEqual([undefined, 503, undefined, 409]);
  });

  it('leaves a key of the caller, and gives a GET none', async () => {
    const { url, requests } = await serve(ok);
    await reliableFetch({})(url, { method: 'POST', headers: { 'Idempotency-Key': 'mine' } });
    await reliableFetch({})(url);
    expect(requests.map(({ headers }) => headers['idempotency-key'])).toEqual(['mine', undefined]);
  });

  it.each([400, 401, 404, 409, 412, 422, 500])('does not repeat after %i', async (status) => {
    const { url, requests } = await serve(answer(status));
    expect((await reliableFetch({})(url)).status).toBe(status);
    expect(requests).toHaveLength(1);
  });

  it('comes again when the answer says, not before', async () => {
    const { url } = await serve(answer(429, { 'retry-after': '1' }), ok);
    const begun = performance.now();
    expect((await reliableFetch({})(url)).status).toBe(200);
    expect(performance.now() - begun).toBeGreaterThanOrEqual(990);
  });

  it('gives up with the last answer when its time is over, at once if the API asks for more', async () => {
    const { url, requests } = await serve(answer(503, { 'retry-after': '3600' }));
    expect((await reliableFetch({ retryForMs: 1_000 })(url)).status).toBe(503);
    expect(requests).toHaveLength(1);
  });

  it('fails when nobody answers in time', async () => {
    const { url } = await serve(() => undefined);
    const silent = reliableFetch({ timeoutMs: 100, retryForMs: 0 })(url);
    await expect(silent).rejects.toThrow('no answer within 0.1 s');
  });

  it('gives a long poll its wait on top, and a stream all the time it wants', async () => {
    const later: RequestListener = (request, response) => {
      const isStream = request.url === '/stream';
      response.writeHead(200, isStream ? { 'content-type': 'text/event-stream' } : {}).write(' ');
      setTimeout(() => response.end('{}'), 300);
    };
    const { url } = await serve(later);
    const call = reliableFetch({ timeoutMs: 100, retryForMs: 0 });
    expect(await (await call(`${url}/?wait=5`)).text()).toBe(' {}');
    expect(await (await call(`${url}/stream`)).text()).toBe(' {}');
    await expect(call(url)).rejects.toThrow('no answer');
  });

  it('ends a stream when it is told to, however long ago that was opened', async () => {
    const { url } = await serve((_request, response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' }).write(': there\n\n');
    });
    const stop = new AbortController();
    const response = await reliableFetch({})(url, { signal: AbortSignal.any([stop.signal]) });
    const reading = response.text();
    collectGarbage();
    await new Promise((done) => setTimeout(done, 50));
    collectGarbage();
    stop.abort(new Error('enough'));
    await expect(reading).rejects.toThrow('enough');
  });

  it('stops when it is told to, also between two tries', async () => {
    const { url } = await serve(answer(503, { 'retry-after': '20' }));
    const stop = new AbortController();
    const call = reliableFetch({ onRetry: () => setImmediate(() => stop.abort(new Error('enough'))) });
    await expect(call(url, { signal: stop.signal })).rejects.toThrow('enough');
    await expect(reliableFetch({ signal: stop.signal })(url)).rejects.toThrow('enough');
  });
});
