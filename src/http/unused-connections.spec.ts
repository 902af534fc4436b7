import { EventEmitter, once } from 'node:events';
import { Agent, createServer, get, type Server } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { expect, it } from '@jest/globals';
import { HandClock } from '../../test/support/hand-clock.js';
import { Shutdown } from '../process/shutdown.js';
import { releaseUnusedConnections } from './unused-connections.js';

it('a shutdown closes connections that never carried a request, and leaves a request under way its time', async () => {
  const begun = Promise.withResolvers<() => void>();
  const server = createServer((_request, response) => begun.resolve(() => response.end('done')));
  const shutdown = new Shutdown();
  releaseUnusedConnections(server, shutdown);
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const { port } = server.address() as AddressInfo;
  const accepted = once(server, 'connection');
  const unused = connect(port, '127.0.0.1');
  await accepted;
  const agent = new Agent({ keepAlive: true });
  const answered = once(get({ port, host: '127.0.0.1', agent }), 'response');
  const answer = await begun.promise;

  shutdown.begin();
  const closed = new Promise((done) => server.close(done));
  await once(unused, 'close');
  answer();
  const [response] = (await answered) as [NodeJS.ReadableStream & { statusCode: number }];
  expect(response.statusCode).toBe(200);
  response.resume();
  agent.destroy();
  await closed;
});

it('a server that has closed leaves nothing behind, and a connection that has closed is let be', async () => {
  const clock = new HandClock();
  try {
    const server = new EventEmitter();
    const listeners = new Set<() => void>();
    const onBegin = (listener: () => void) => {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    };
    releaseUnusedConnections(server as unknown as Server, { onBegin });
    const destroyed: string[] = [];
    const connection = (name: string) => {
      const socket = Object.assign(new EventEmitter(), { destroy: () => destroyed.push(name) });
      server.emit('connection', socket);
      return socket;
    };
    connection('closed').emit('close');
    server.emit('request', { socket: connection('used') });
    connection('unused');
    for (const begin of listeners) begin();
    await clock.pass(999);
    expect(destroyed).toEqual([]);
    connection('later');
    await clock.pass(1);
    expect(destroyed).toEqual(['unused', 'later']);
    server.emit('close');
    expect([clock.timers, listeners.size]).toEqual([0, 0]);
  } finally {
    clock.restore();
  }
});
