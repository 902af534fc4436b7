import { once } from 'node:events';
import { Agent, createServer, get } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { expect, it } from '@jest/globals';
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
