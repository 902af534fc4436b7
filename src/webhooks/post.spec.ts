import { generateKeyPairSync } from 'node:crypto';
import { once } from 'node:events';
import { createServer as createHttpServer } from 'node:http';
import {
  createServer,
  getDefaultAutoSelectFamily,
  setDefaultAutoSelectFamily,
  type AddressInfo,
  type Server,
} from 'node:net';
import { setImmediate as turn } from 'node:timers/promises';
import { afterEach, describe, expect, it } from '@jest/globals';
import { writeCertificate } from '../agent-keys/certificate.js';
import { parseAllowed } from './address-rules.js';
import { createPost, type PostOptions } from './post.js';
import { createResolve } from './resolve-name.js';
import { HandClock } from '../../test/support/hand-clock.js';
import { startNameServer } from '../../test/support/name-server.js';
import { startReceiver } from '../../test/support/receiver.js';

const LOOPBACK = parseAllowed(['127.0.0.1']);
const HEADERS = { 'webhook-id': 'one', 'content-type': 'application/json' };

describe('posting a webhook', () => {
  const undo: (() => Promise<void> | void)[] = [];
  afterEach(async () => {
    for (const step of undo.splice(0).reverse()) await step();
  });
  const receiver = async (options?: Parameters<typeof startReceiver>[0]) => {
    const started = await startReceiver(options);
    undo.push(() => started.close());
    return started;
  };
  const names = async (answer: (nth: number) => string[]) => {
    const started = await startNameServer(answer);
    undo.push(() => started.close());
    return started;
  };
  const post = (url: string, options: Partial<PostOptions> = {}) =>
    createPost({ allowed: LOOPBACK, resolve: createResolve(), ...options })(url, HEADERS, '{"type":"x"}');

  it('sends the body and the headers, and takes any 2xx', async () => {
    const target = await receiver();
    expect(await post(`${target.url}/hooks?a=1`)).toEqual({
      status: 204,
      fault: null,
      latencyMs: expect.any(Number),
    });
    expect(target.received).toMatchObject([{ path: '/hooks?a=1', body: '{"type":"x"}', id: 'one' }]);
  });

  it.each([200, 299])('takes a %i for a delivery', async (status) => {
    const target = await receiver();
    target.answer(() => status);
    expect(await post(target.url)).toMatchObject({ status, fault: null });
  });

  it('tells how long it took, from the look for its address on', async () => {
    const clock = new HandClock();
    undo.push(() => clock.restore());
    await clock.pass(1_000);
    const resolve = async () => {
      await clock.pass(250);
      return await Promise.reject(new Error('ENOTFOUND'));
    };
    expect(await post('https://nowhere.example/', { resolve })).toMatchObject({ latencyMs: 250 });
  });

  it('reaches a name also where Node tries one address only', async () => {
    const before = getDefaultAutoSelectFamily();
    setDefaultAutoSelectFamily(false);
    undo.push(() => setDefaultAutoSelectFamily(before));
    const target = await receiver();
    const resolve = () => Promise.resolve(['127.0.0.1']);
    expect(await post(`http://hooks.example:${target.port}/`, { resolve })).toMatchObject({ status: 204, fault: null });
  });

  it.each([400, 404, 410, 429, 500, 503])('tells of a %i', async (status) => {
    const target = await receiver();
    target.answer(() => status);
    expect(await post(target.url)).toMatchObject({ status, fault: 'answered' });
  });

  it.each([300, 301, 302, 303, 307, 308, 399])('follows no %i, wherever it leads', async (status) => {
    const [target, inner] = [await receiver(), await receiver({ host: '127.0.0.2' })];
    for (const location of [inner.url, `${target.url}/again`, 'http://169.254.169.254/latest/meta-data/']) {
      target.answer(() => ({ status, headers: { location } }));
      expect(await post(target.url)).toMatchObject({ status, fault: 'redirected' });
    }
    expect(inner.received).toEqual([]);
    expect(target.received.map(({ path }) => path)).toEqual(['/', '/', '/']);
  });

  it('never connects to an address that is not allowed', async () => {
    const target = await receiver();
    const url = `http://127.0.0.1:${target.port}/`;
    for (const allowed of [parseAllowed([]), parseAllowed(['127.0.0.2', '10.0.0.0/8', 'example.com'])]) {
      expect(await post(url, { allowed })).toMatchObject({ status: null, fault: 'address-refused' });
      expect(await post(`http://[::ffff:127.0.0.1]:${target.port}/`, { allowed })).toMatchObject({
        fault: 'address-refused',
      });
    }
    expect(target.received).toEqual([]);
  });

  it('connects to the address it has checked, whatever the name leads to a moment later', async () => {
    const inner = await receiver({ host: '127.0.0.2' });
    const target = await receiver({ port: inner.port });
    // Rebinding: right when it is checked, wrong ever after.
    const rebinding = await names((nth) => [nth % 2 === 1 ? '127.0.0.1' : '127.0.0.2']);
    const resolve = createResolve([rebinding.server]);
    const url = `http://rebinding.example:${inner.port}/`;
    expect(await post(url, { resolve })).toMatchObject({ fault: null });
    expect(rebinding.asked()).toBe(1);
    expect(await post(url, { resolve })).toMatchObject({ fault: 'address-refused' });
    expect(await post(url, { resolve })).toMatchObject({ fault: null });
    expect([target.received.length, inner.received.length]).toEqual([2, 0]);
  });

  it('refuses a name that has a forbidden address beside a good one', async () => {
    const target = await receiver();
    const both = await names(() => ['127.0.0.1', '127.0.0.2']);
    const resolve = createResolve([both.server]);
    expect(await post(`http://both.example:${target.port}/`, { resolve })).toMatchObject({ fault: 'address-refused' });
    expect(target.received).toEqual([]);
  });

  it('goes wherever a host leads that the operator opened by name', async () => {
    const target = await receiver({ host: '127.0.0.2' });
    const inner = await names(() => ['127.0.0.2']);
    const options = { resolve: createResolve([inner.server]), allowed: parseAllowed(['hooks.internal']) };
    expect(await post(`http://hooks.internal:${target.port}/`, options)).toMatchObject({ fault: null });
    expect(await post(`http://other.internal:${target.port}/`, options)).toMatchObject({ fault: 'address-refused' });
  });

  it('says when a name is not known, and when nobody knows in time', async () => {
    const unknown = () => Promise.reject(new Error('ENOTFOUND'));
    expect(await post('https://nowhere.example/', { resolve: unknown })).toMatchObject({ fault: 'name-not-resolved' });
    const silent = await names(() => []);
    const options = { resolve: createResolve([silent.server]), timeoutMs: 300 };
    expect(await post('https://nowhere.example/', options)).toMatchObject({ fault: 'timed-out' });
  });

  it('trusts the authorities it is told, and the name in the certificate only', async () => {
    const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
    const ca = writeCertificate(privateKey, 'hooks.example');
    const target = await receiver({ tls: { key: privateKey.export({ type: 'pkcs8', format: 'pem' }), cert: ca } });
    const resolve = () => Promise.resolve(['127.0.0.1']);
    const url = `https://hooks.example:${target.port}/`;
    expect(await post(url, { resolve })).toMatchObject({ status: null, fault: 'tls-failed' });
    expect(await post(`https://other.example:${target.port}/`, { resolve, ca })).toMatchObject({ fault: 'tls-failed' });
    expect(target.received).toEqual([]);
    expect(await post(url, { resolve, ca })).toMatchObject({ status: 204, fault: null });
  });

  it('gives up on who does not answer, cuts, or is not there', async () => {
    const target = await receiver();
    target.answer(() => 'never');
    expect(await post(target.url, { timeoutMs: 300 })).toMatchObject({ status: null, fault: 'timed-out' });
    target.answer(() => 'cut');
    expect(await post(target.url)).toMatchObject({ status: null, fault: 'not-connected' });
    await undo.pop()?.();
    expect(await post(target.url)).toMatchObject({ status: null, fault: 'not-connected' });
  });

  it('reads only the beginning of an answer that never ends', async () => {
    const { promise: closed, resolve: close } = Promise.withResolvers<number>();
    let wrote = 0;
    const server = createServer((socket) => {
      socket.on('error', () => undefined).once('close', () => close(wrote));
      const more = (): void => {
        while (!socket.destroyed && socket.write(Buffer.alloc(65_536))) wrote += 65_536;
      };
      socket.on('drain', more).once('data', () => {
        socket.write('HTTP/1.1 200 OK\r\n\r\n');
        more();
      });
    });
    const url = await listen(server);
    // Not by the time that a try may take.
    expect(await post(url, { timeoutMs: 3_600_000 })).toMatchObject({ status: 200, fault: null });
    // What fits into the buffers of both ends.
    expect(await closed).toBeLessThan(50_000_000);
  });

  it('cuts off nobody who sends a short answer in pieces', async () => {
    const { promise: isWhole, resolve: end } = Promise.withResolvers<boolean>();
    const server = createHttpServer((request, response) => {
      response.once('close', () => end(response.writableFinished));
      request.resume().once('end', () => void sendInPieces());
      const sendInPieces = async (): Promise<void> => {
        for (let piece = 0; piece < 15; piece += 1) {
          response.write(Buffer.alloc(1_024));
          for (let turns = 0; turns < 20; turns += 1) await turn();
        }
        response.end();
      };
    });
    expect(await post(await listen(server))).toMatchObject({ status: 200, fault: null });
    expect(await isWhole).toBe(true);
  });

  it('has delivered what was answered, though the connection is cut in the middle of the answer', async () => {
    const server = createServer((socket) => {
      socket.once('data', () => {
        socket.write('HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf', () => socket.destroy());
      });
    });
    expect(await post(await listen(server))).toMatchObject({ status: 200, fault: null });
  });

  async function listen(server: Server): Promise<string> {
    await once(server.listen(0, '127.0.0.1'), 'listening');
    undo.push(async () => {
      await once(server.close(), 'close');
    });
    const { port } = server.address() as AddressInfo;
    return `http://127.0.0.1:${port}/`;
  }
});
