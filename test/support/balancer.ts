import { readFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { Agent, type IncomingMessage, request, type ServerResponse } from 'node:http';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ensureAgentKeys } from '../../src/agent-keys/agent-keys.ts';

/** As terraform/alb.tf sets it up. */
export const HEALTH_CHECK = { path: '/health/ready', seconds: 5, timeoutSeconds: 4, healthy: 2, unhealthy: 2 };
const IDLE_MS = 120_000;

/** Stands in for an Application Load Balancer: ends TLS, on loopback, with a certificate of its own. */
export type Balancer = {
  readonly port: number;
  readonly certificate: string;
  /** Of an instance, which it sends requests to from now on, as far as health checks let it. */
  register(address: string): void;
  stop(): Promise<void>;
};

type Target = { readonly address: string; state: 'initial' | 'healthy' | 'unhealthy'; streak: number };

export async function startBalancer(): Promise<Balancer> {
  const { key, certificate } = await makeCertificate();
  const targets: Target[] = [];
  const connections = new Agent({ keepAlive: true });
  let turn = 0;
  const server = createServer({ key, cert: certificate }, (incoming, outgoing) => {
    const willing = willingOf(targets);
    turn += 1;
    const target = willing[turn % willing.length];
    if (target === undefined) outgoing.writeHead(503).end();
    else passOn(incoming, outgoing, { address: target.address, connections });
  });
  server.setTimeout(IDLE_MS);
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  const { port } = server.address() as AddressInfo;
  const checks = setInterval(() => {
    for (const target of targets) void isHealthy(target.address).then((isGood) => recordCheck(target, isGood));
  }, HEALTH_CHECK.seconds * 1000);
  return {
    port,
    certificate,
    register: (address) => void targets.push({ address, state: 'initial', streak: 0 }),
    stop: async () => {
      clearInterval(checks);
      connections.destroy();
      const closed = new Promise((done) => server.close(done));
      server.closeAllConnections();
      await closed;
    },
  };
}

/** An ALB fails open: where none is healthy, all that are checked already get requests. */
function willingOf(targets: readonly Target[]): readonly Target[] {
  const healthy = targets.filter(({ state }) => state === 'healthy');
  return healthy.length > 0 ? healthy : targets.filter(({ state }) => state === 'unhealthy');
}

/** A new one is healthy after one good check; after that it takes as many in a row as are set. */
function recordCheck(target: Target, isGood: boolean): void {
  const wanted = isGood ? 'healthy' : 'unhealthy';
  if (target.state === wanted) {
    target.streak = 0;
    return;
  }
  target.streak += 1;
  const needed = isGood ? (target.state === 'initial' ? 1 : HEALTH_CHECK.healthy) : HEALTH_CHECK.unhealthy;
  if (target.streak < needed) return;
  target.state = wanted;
  target.streak = 0;
}

async function isHealthy(address: string): Promise<boolean> {
  const signal = AbortSignal.timeout(HEALTH_CHECK.timeoutSeconds * 1000);
  return await fetch(`http://${address}${HEALTH_CHECK.path}`, { signal, headers: { connection: 'close' } }).then(
    async ({ status, body }) => {
      await body?.cancel();
      return status === 200;
    },
    () => false,
  );
}

/** With the headers that an ALB sets; it appends the address it saw itself to those before. */
function passOn(
  incoming: IncomingMessage,
  outgoing: ServerResponse,
  { address, connections }: { address: string; connections: Agent },
): void {
  const { method, url, headers, socket } = incoming;
  const before = headers['x-forwarded-for'];
  const forwarded = {
    ...headers,
    'x-forwarded-for': [...(before === undefined ? [] : [before]), socket.remoteAddress].join(', '),
    'x-forwarded-proto': 'https',
    'x-forwarded-port': '443',
  };
  const call = request({ host: address, port: 80, method, path: url, headers: forwarded, agent: connections });
  call.on('response', (answer) => {
    outgoing.writeHead(answer.statusCode ?? 502, answer.headers);
    answer.pipe(outgoing);
    answer.on('error', () => outgoing.destroy());
  });
  call.on('error', () => {
    if (outgoing.headersSent) outgoing.destroy();
    else outgoing.writeHead(502).end();
  });
  outgoing.on('close', () => call.destroy());
  incoming.pipe(call);
}

/** Like one that agents pin: signed by itself. */
async function makeCertificate(): Promise<{ key: string; certificate: string }> {
  const folder = await mkdtemp(join(tmpdir(), 'balancer-'));
  await ensureAgentKeys(folder);
  const pem = readFileSync(join(folder, 'current.pem'), 'utf8');
  await rm(folder, { recursive: true });
  return { key: pem, certificate: pem };
}
