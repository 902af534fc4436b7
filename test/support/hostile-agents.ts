import { Agent, createServer, request as httpRequest, type IncomingHttpHeaders } from 'node:http';

/**
 * Where agents reach the API. Whose order to pull names an image that begins with `hostile` becomes an agent that lies:
 * while an attack lasts it answers each of its orders with what costs most to read, as long as an answer may be, and
 * keeps changing its mind about the container's health.
 */
export type HostileAgents = {
  readonly url: string;
  forwardTo(url: string): void;
  /** @param pauseMs between two changes of mind of one agent */
  attack(pauseMs: number): void;
  /** From now on they are agents like any other. */
  rest(): void;
  /** Bytes of answers sent by liars so far. */
  readonly sentBytes: number;
  readonly agents: number;
  stop(): Promise<void>;
};

const LONGEST_BYTES = 262_144;

const NOISE: readonly Buffer[] = [
  '\n',
  '{}\n',
  '{\n',
  '{"error":1}\n',
  '[',
  '{"a":',
  '{"StatusCode":1e999,"Id":"sha256:1","State":{"Running":9}}\n',
  '9',
  '\0',
  '"\\ud800"',
  '\xff',
  '\x01\0\0\0\0\0\0\x01\n',
].map((text) => Buffer.from(text.repeat(Math.floor(LONGEST_BYTES / text.length)), 'latin1'));
const OBJECTS: readonly Buffer[] = [
  `{"${'k'.repeat(LONGEST_BYTES - 10)}":1}`,
  `{${Array.from({ length: 20_000 }, (_, n) => `"k${n}":0`).join(',')}}`,
  JSON.stringify({ Id: `sha256:${'b'.repeat(64)}`, RepoDigests: Array(3_500).fill(`nginx@sha256:${'a'.repeat(64)}`) }),
  JSON.stringify({ message: '\ud800\0'.repeat(20_000) }),
].map((text) => Buffer.from(text));

const BODIES = [...NOISE, ...OBJECTS];

type Liar = {
  readonly authorization: string;
  probe: string | undefined;
  isHealthy: boolean;
  timer: NodeJS.Timeout | undefined;
};

export async function startHostileAgents(): Promise<HostileAgents> {
  const agent = new Agent({ keepAlive: true });
  const liars = new Map<string, Liar>();
  let target: URL | undefined;
  let pauseMs: number | undefined;
  let turn = 0;
  let sentBytes = 0;

  const bodyOf = (): Buffer => BODIES[turn++ % BODIES.length] ?? Buffer.alloc(0);
  const send = (method: string | undefined, path: string | undefined, headers: IncomingHttpHeaders) =>
    httpRequest({ host: target?.hostname, port: target?.port, method, path, headers, agent });

  /** Says the opposite of what it said before, at length. */
  const changeMind = (liar: Liar): void => {
    if (pauseMs === undefined || liar.probe === undefined) return;
    liar.isHealthy = !liar.isHealthy;
    const body = bodyOf();
    sentBytes += body.length;
    const sent = send('POST', `/agent/v1/orders/${liar.probe}/result`, {
      authorization: liar.authorization,
      'result-status': '200',
      'probe-state': liar.isHealthy ? 'healthy' : 'unhealthy',
      'content-type': 'application/octet-stream',
      'content-length': String(body.length),
    });
    const again = (): void => {
      clearTimeout(liar.timer);
      liar.timer = setTimeout(() => changeMind(liar), pauseMs);
    };
    sent.on('response', (answer) => answer.resume().on('end', again));
    sent.on('error', again);
    sent.end(body);
  };

  const server = createServer((incoming, outgoing) => {
    const { method, url: path, headers } = incoming;
    const authorization = headers.authorization ?? '';
    const liar = liars.get(authorization);
    const isLie = pauseMs !== undefined && liar !== undefined && path?.endsWith('/result') === true;
    const body = isLie ? bodyOf() : undefined;
    const sent = send(method, path, {
      ...headers,
      ...(body && { 'content-length': String(body.length), 'content-type': 'application/octet-stream' }),
    });
    sent.on('response', (answer) => {
      const { 'docker-path': dockerPath, 'order-kind': kind, 'order-number': number } = answer.headers;
      if (String(dockerPath).includes('fromImage=hostile') && !liars.has(authorization)) {
        liars.set(authorization, { authorization, probe: undefined, isHealthy: false, timer: undefined });
      }
      if (kind === 'probe' && liar) liar.probe = String(number);
      outgoing.writeHead(answer.statusCode ?? 502, answer.headers);
      answer.pipe(outgoing);
    });
    sent.on('error', () => outgoing.destroy());
    outgoing.on('close', () => sent.destroy());
    if (!body) return void incoming.pipe(sent);
    incoming.resume();
    sentBytes += body.length;
    sent.end(body);
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('the proxy has no port');
  const rest = (): void => {
    pauseMs = undefined;
    for (const { timer } of liars.values()) clearTimeout(timer);
  };
  return {
    url: `http://127.0.0.1:${address.port}`,
    forwardTo: (url) => void (target = new URL(url)),
    attack: (ms) => {
      pauseMs = ms;
      for (const liar of liars.values()) changeMind(liar);
    },
    rest,
    get sentBytes() {
      return sentBytes;
    },
    get agents() {
      return liars.size;
    },
    stop: async () => {
      rest();
      server.closeAllConnections();
      agent.destroy();
      await new Promise<void>((done) => server.close(() => done()));
    },
  };
}
