import { once } from 'node:events';
import { createServer } from 'node:net';

/** A port without a listener now; the kernel hands it out again late enough for a test. */
export async function findFreePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  await new Promise<void>((done) => server.close(() => done()));
  if (address === null || typeof address === 'string') throw new Error('a TCP server has an address');
  return address.port;
}
