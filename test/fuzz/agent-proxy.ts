import { Agent, createServer, request as httpRequest } from 'node:http';

/** Where agents reach the API. Their credentials pass here: with them the fuzzer acts as one of them. */
export type AgentProxy = {
  readonly url: string;
  /** From now on requests go there. */
  forwardTo(url: string): void;
  /** Tokens agents have used, and the forms they registered with; the newest last. */
  readonly tokens: readonly string[];
  readonly forms: readonly string[];
  stop(): Promise<void>;
};

const MOST_TOKENS = 50;
const MOST_FORMS = 20;

export async function startAgentProxy(): Promise<AgentProxy> {
  const agent = new Agent({ keepAlive: true });
  const tokens: string[] = [];
  const forms: string[] = [];
  let target: URL | undefined;

  const server = createServer((incoming, outgoing) => {
    const token = /^Bearer ([0-9a-f]{64})$/.exec(incoming.headers.authorization ?? '')?.[1];
    if (token !== undefined) remember(tokens, token, MOST_TOKENS);
    if (incoming.url?.endsWith('/register')) {
      const chunks: Buffer[] = [];
      incoming.on('data', (chunk: Buffer) => chunks.push(chunk));
      incoming.on('end', () => remember(forms, Buffer.concat(chunks).toString(), MOST_FORMS));
    }
    const { method, url: path, headers } = incoming;
    const sent = httpRequest({ host: target?.hostname, port: target?.port, method, path, headers, agent });
    sent.on('response', (answer) => {
      outgoing.writeHead(answer.statusCode ?? 502, answer.headers);
      answer.pipe(outgoing);
    });
    sent.on('error', () => outgoing.destroy());
    outgoing.on('close', () => sent.destroy());
    incoming.pipe(sent);
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('the proxy has no port');
  return {
    url: `http://127.0.0.1:${address.port}`,
    forwardTo: (url) => void (target = new URL(url)),
    tokens,
    forms,
    stop: async () => {
      server.closeAllConnections();
      agent.destroy();
      await new Promise<void>((done) => server.close(() => done()));
    },
  };
}

function remember(list: string[], value: string, most: number): void {
  if (list.includes(value)) return;
  list.push(value);
  if (list.length > most) list.shift();
}
