import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { PassThrough } from 'node:stream';
import { json, text } from 'node:stream/consumers';
import { run } from './program.js';
import { openTerminal } from './terminal.js';

describe('scheduler deploy', () => {
  let server: Server;
  let sent: unknown[] = [];

  /** An API with the job `web` that keeps what it is sent. */
  beforeAll(async () => {
    server = createServer((request, response) => {
      const answer = (status: number, body: object): void => {
        response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
      };
      if (request.method === 'GET') {
        answer(200, { name: 'web', kind: 'service', job: 'web', number: 2, status: 'queued' });
        return;
      }
      void json(request).then((body) => {
        sent.push(body);
        if ('cpus' in (body as object)) {
          answer(422, {
            type: '/problems/invalid-request',
            title: 'The request is not valid',
            instance: 'urn:request:1',
          });
          return;
        }
        answer(202, { job: 'web', number: 2, status: 'queued' });
      });
    }).listen(0, '127.0.0.1');
    await once(server, 'listening');
  });
  afterAll(() => {
    server.close();
    server.closeAllConnections();
  });

  async function deploy(...args: string[]): Promise<{ code: number; sent: unknown[]; stderr: string }> {
    sent = [];
    const streams = { stdin: process.stdin, stdout: new PassThrough(), stderr: new PassThrough() };
    const code = await run({
      args,
      environment: { SCHEDULER_URL: `http://127.0.0.1:${(server.address() as AddressInfo).port}` },
      terminal: openTerminal(streams as unknown as Parameters<typeof openTerminal>[0]),
      signal: new AbortController().signal,
    });
    streams.stderr.end();
    return { code, sent, stderr: await text(streams.stderr) };
  }

  it.each([
    [['deploy', 'web', '--no-wait', '--', 'sh', '-c', 'exit 3'], { command: ['sh', '-c', 'exit 3'] }],
    [['deploy', 'web', 'nginx', '--no-wait', '--', 'sh', '--', '-x'], { image: 'nginx', command: ['sh', '--', '-x'] }],
    [['deploy', 'web', 'nginx', '--no-wait'], { image: 'nginx' }],
  ])('takes what follows -- for the command, and never for the image: %j', async (args, body) => {
    expect(await deploy(...args)).toMatchObject({ code: 0, sent: [body] });
  });

  it('says that options are for this deployment only once there is one', async () => {
    const only = expect.stringContaining('memoryMiB: for this deployment only');
    expect(await deploy('deploy', 'web', '--memory', '64', '--no-wait')).toMatchObject({ code: 0, stderr: only });
    expect(await deploy('deploy', 'web', '--cpus', '64', '--no-wait')).toMatchObject({
      code: 7,
      stderr: expect.not.stringContaining('for this deployment only'),
    });
  });

  it('refuses a command that does not follow --', async () => {
    expect(await deploy('deploy', 'web', 'nginx', 'sh')).toMatchObject({ code: 2, sent: [] });
  });
});
