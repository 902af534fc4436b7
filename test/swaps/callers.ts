import { Agent, request } from 'node:http';

export type Calls = {
  readonly made: number;
  readonly failures: readonly string[];
  readonly answeredBy: ReadonlySet<string>;
};

export type CallerOptions = {
  /** Of nginx. */
  readonly address: string;
  readonly port: number;
  readonly host: string;
  /** What every answer has as `hello`. */
  readonly expected: string;
  readonly perSecond: number;
};

/** Calls a host through nginx at a steady rate, on kept connections, until it is stopped. */
export class Caller {
  readonly #agent = new Agent({ keepAlive: true, maxSockets: 16 });
  readonly #failures: string[] = [];
  readonly #answeredBy = new Set<string>();
  readonly #open = new Set<Promise<void>>();
  readonly #timer: NodeJS.Timeout;
  #made = 0;

  readonly #options: CallerOptions;

  constructor(options: CallerOptions) {
    this.#options = options;
    const { perSecond } = options;
    this.#timer = setInterval(() => this.#call(), 1000 / perSecond);
  }

  async stop(): Promise<Calls> {
    clearInterval(this.#timer);
    await Promise.all(this.#open);
    this.#agent.destroy();
    return { made: this.#made, failures: this.#failures, answeredBy: this.#answeredBy };
  }

  #call(): void {
    const number = (this.#made += 1);
    const method = number % 2 === 0 ? 'GET' : 'POST';
    const began = new Date().toISOString();
    const call = this.#send(method, `/call/${number}`).then(
      ({ status, body }) => {
        const answer = status === 200 ? (JSON.parse(body) as { hello: string; hostname: string }) : undefined;
        if (answer?.hello === this.#options.expected) this.#answeredBy.add(answer.hostname);
        else this.#failures.push(`${began} ${method} ${number}: ${status} ${body.slice(0, 200)}`);
      },
      (error: unknown) => this.#failures.push(`${began} ${method} ${number}: ${String(error)}`),
    );
    const tracked = call.then(() => void this.#open.delete(tracked));
    this.#open.add(tracked);
  }

  #send(method: string, path: string): Promise<{ status: number; body: string }> {
    return new Promise((resolve, reject) => {
      const sent = request(
        {
          agent: this.#agent,
          host: this.#options.address,
          port: this.#options.port,
          method,
          path,
          headers: { host: `${this.#options.host}:${this.#options.port}` },
          timeout: 30_000,
        },
        (response) => {
          let body = '';
          response.setEncoding('utf8').on('data', (chunk: string) => (body += chunk));
          response.on('end', () => resolve({ status: response.statusCode ?? 0, body })).on('error', reject);
        },
      );
      sent.on('error', reject).on('timeout', () => sent.destroy(new Error('no answer in 30 s')));
      sent.end(method === 'POST' ? 'x'.repeat(1000) : undefined);
    });
  }
}
