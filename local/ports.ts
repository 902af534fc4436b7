import { once } from 'node:events';
import { createServer, type AddressInfo } from 'node:net';

/** A port without a listener now; the kernel hands it out again late enough for a test. */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

/** @throws Error naming the port, and the variable that names another one */
export async function requireFreePort(port: number, variable: string, address = '127.0.0.1'): Promise<void> {
  const server = createServer();
  try {
    await new Promise<void>((done, fail) => {
      server.once('error', fail);
      server.listen(port, address, done);
    });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EADDRINUSE') throw error;
    throw new Error(`port ${port} is in use by another program: end that one, or set ${variable} to another port`, {
      cause: error,
    });
  } finally {
    await new Promise((done) => server.close(done));
  }
}
