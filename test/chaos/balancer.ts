import { connect, createServer, type Socket } from 'node:net';

/** What an operator has in front of several replicas: agents know only its address. */
export type Balancer = { readonly url: string; stop(): Promise<void> };

const PROBE_EVERY_MS = 500;
const PROBE_LIMIT_MS = 1_500;

/** Connections go to replicas in turn, past those whose liveness probe fails. */
export async function startBalancer(ports: readonly number[]): Promise<Balancer> {
  const healthy = new Set(ports);
  const open = new Set<Socket>();
  let turn = 0;

  const probe = async (port: number): Promise<void> => {
    const isAlive = await fetch(`http://127.0.0.1:${port}/health/live`, {
      signal: AbortSignal.timeout(PROBE_LIMIT_MS),
      headers: { connection: 'close' },
    }).then(
      (response) => response.ok,
      () => false,
    );
    if (isAlive) healthy.add(port);
    else healthy.delete(port);
  };
  const probes = ports.map((port) => setInterval(() => void probe(port), PROBE_EVERY_MS));

  const server = createServer((client) => {
    const candidates = ports.filter((port) => healthy.has(port));
    const port = candidates[(turn += 1) % Math.max(1, candidates.length)];
    if (port === undefined) {
      client.destroy();
      return;
    }
    const upstream = connect(port, '127.0.0.1');
    for (const [one, other] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      open.add(one);
      one.setNoDelay(true);
      one.on('error', () => other.destroy());
      one.on('close', () => {
        open.delete(one);
        other.destroy();
      });
      one.pipe(other);
    }
  });
  await new Promise<void>((done, failed) => {
    server.once('error', failed);
    server.listen(0, '127.0.0.1', () => done());
  });
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('the balancer has no port');
  return {
    url: `http://127.0.0.1:${address.port}`,
    stop: async () => {
      probes.forEach((timer) => clearInterval(timer));
      for (const socket of open) socket.destroy();
      await new Promise<void>((done) => server.close(() => done()));
    },
  };
}
