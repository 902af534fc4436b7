import { Agent, request, type ClientRequest } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';
import { Tally, type Answer, type Caller, type CallerOptions, type Calls } from './calls.ts';

/** Above the longest that a request is held, and what the container takes for it. */
const PATIENCE_MS = 30_000;
const POST_BYTES = 1_000;

/** GET and POST in turn at a steady rate, on kept connections. */
export class SteadyCaller implements Caller {
  readonly #options: CallerOptions;
  readonly #agent = new Agent({ keepAlive: true, maxSockets: 32 });
  readonly #tally: Tally;
  readonly #timer: NodeJS.Timeout;

  constructor(options: CallerOptions & { readonly perSecond: number }) {
    this.#options = options;
    this.#tally = new Tally('calls', options.expected);
    this.#timer = setInterval(() => this.#call(), 1000 / options.perSecond);
  }

  async stop(): Promise<Calls> {
    clearInterval(this.#timer);
    const calls = await this.#tally.ended();
    this.#agent.destroy();
    return calls;
  }

  #call(): void {
    const number = this.#tally.made;
    // Both methods by each nginx.
    const method = (number >> 1) % 2 === 0 ? 'GET' : 'POST';
    const path = `/call/${number}`;
    void this.#tally.track(`${method} ${path}`, () =>
      send({ ...this.#options, ...{ agent: this.#agent, method, path, number, patienceMs: PATIENCE_MS } }, (sent) =>
        sent.end(method === 'POST' ? 'x'.repeat(POST_BYTES) : undefined),
      ),
    );
  }
}

/** One upload after the other, each slower than its network. */
export class Uploader implements Caller {
  readonly #tally: Tally;
  readonly #work: Promise<void>;
  #isStopped = false;

  constructor(options: CallerOptions & { readonly chunks: number; readonly everyMs: number }) {
    this.#tally = new Tally('uploads', options.expected);
    this.#work = this.#run(options);
  }

  async stop(): Promise<Calls> {
    this.#isStopped = true;
    await this.#work;
    return await this.#tally.ended();
  }

  async #run(options: CallerOptions & { readonly chunks: number; readonly everyMs: number }): Promise<void> {
    const { chunks, everyMs } = options;
    while (!this.#isStopped) {
      const number = this.#tally.made;
      await this.#tally.track(`upload ${number}`, async () => {
        const patienceMs = PATIENCE_MS + chunks * everyMs;
        const answer = await send({ ...options, method: 'POST', path: '/upload', number, patienceMs }, (sent) => {
          void write(sent, chunks, everyMs);
        });
        if (answer.received !== chunks * POST_BYTES) throw new Error(`${answer.received} bytes arrived`);
        return answer;
      });
      // Where it was refused at once.
      await delay(everyMs);
    }
  }
}

/** Requests that the job answers after so many seconds, begun one after the other. */
export class Waiter implements Caller {
  readonly #tally: Tally;
  readonly #timer: NodeJS.Timeout;

  constructor(options: CallerOptions & { readonly seconds: number; readonly everyMs: number }) {
    const { seconds, everyMs } = options;
    this.#tally = new Tally('waits', options.expected);
    this.#timer = setInterval(() => {
      const number = this.#tally.made;
      const path = `/wait/${seconds}`;
      void this.#tally.track(path, () =>
        send({ ...options, method: 'GET', path, number, patienceMs: PATIENCE_MS + seconds * 1_000 }, (sent) =>
          sent.end(),
        ),
      );
    }, everyMs);
  }

  async stop(): Promise<Calls> {
    clearInterval(this.#timer);
    return await this.#tally.ended();
  }
}

type Sending = CallerOptions & {
  readonly method: string;
  readonly path: string;
  /** Says which nginx. */
  readonly number: number;
  readonly patienceMs: number;
  readonly agent?: Agent;
};

/** @throws Error when the answer is not a 200 of a simulated container */
function send(
  { address, ports, host, method, path, number, patienceMs, agent }: Sending,
  body: (sent: ClientRequest) => void,
): Promise<Answer> {
  const port = ports[number % ports.length];
  return new Promise((resolve, reject) => {
    const sent = request(
      {
        ...{ host: address, port, method, path, timeout: patienceMs, agent: agent ?? false },
        headers: { host: `${host}:${port}`, connection: agent ? 'keep-alive' : 'close' },
      },
      (response) => {
        let text = '';
        response.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
        response.on('error', reject).on('end', () => {
          if (response.statusCode === 200) resolve(JSON.parse(text) as Answer);
          else reject(new Error(`${response.statusCode} of nginx at ${port}: ${text.slice(0, 300)}`));
        });
      },
    );
    sent.on('error', (error) => reject(new Error(`${error.message} (nginx at ${port})`)));
    sent.on('timeout', () => sent.destroy(new Error(`no answer in ${patienceMs} ms`)));
    body(sent);
  });
}

async function write(sent: ClientRequest, chunks: number, everyMs: number): Promise<void> {
  for (let left = chunks; left > 0 && !sent.destroyed; left--) {
    sent.write('x'.repeat(POST_BYTES));
    await delay(everyMs);
  }
  sent.end();
}
