import { setTimeout as delay } from 'node:timers/promises';
import { WebSocket } from 'ws';
import { Tally, type Caller, type CallerOptions, type Calls } from './calls.ts';

const OPENS_WITHIN_MS = 30_000;
const ANSWERS_WITHIN_MS = 20_000;
const PAUSE_MS = 1_000;

/**
 * A WebSocket that gets back what it sends, a message a second; opened again whenever its container goes. An opening that
 * fails, and an answer that is not what was sent, are failures; an end is none.
 */
export class SocketCaller implements Caller {
  readonly #tally: Tally;
  readonly #ending = new AbortController();
  readonly #work: Promise<void>;
  /** Messages that came back, and sockets that ended before they were stopped. */
  echoes = 0;
  ends = 0;

  constructor(options: CallerOptions) {
    this.#tally = new Tally('sockets', options.expected);
    this.#work = this.#run(options);
  }

  async stop(): Promise<Calls> {
    this.#ending.abort();
    await this.#work;
    return await this.#tally.ended();
  }

  async #run({ address, ports, host, expected }: CallerOptions): Promise<void> {
    for (let number = 0; !this.#ending.signal.aborted; number += 1) {
      const port = ports[number % ports.length];
      await this.#tally.track(`socket ${number} by nginx at ${port}`, async () => {
        const socket = new WebSocket(`ws://${address}:${port}/socket`, {
          headers: { host: `${host}:${port}` },
          handshakeTimeout: OPENS_WITHIN_MS,
        });
        await this.#echo(socket);
        return { hello: expected, hostname: '' };
      });
    }
  }

  /** @throws Error when it does not open, says something else than it was told, or nothing */
  async #echo(socket: WebSocket): Promise<void> {
    const { signal } = this.#ending;
    let silence: NodeJS.Timeout | undefined;
    const close = (): void => socket.close();
    try {
      await new Promise<void>((resolve, reject) => {
        let said = '';
        const say = (): void => {
          if (socket.readyState !== WebSocket.OPEN) return;
          said = `${this.echoes}`;
          socket.send(said);
          silence = setTimeout(() => reject(new Error('it says nothing any more')), ANSWERS_WITHIN_MS);
        };
        socket.on('error', reject).on('open', say);
        socket.on('message', (data) => {
          clearTimeout(silence);
          if ((data as Buffer).toString() !== said) return reject(new Error('it said something else'));
          this.echoes += 1;
          void delay(PAUSE_MS, undefined, { signal }).then(say, close);
        });
        socket.on('close', () => {
          if (!signal.aborted) this.ends += 1;
          resolve();
        });
        signal.addEventListener('abort', close);
      });
    } finally {
      clearTimeout(silence);
      signal.removeEventListener('abort', close);
      socket.terminate();
    }
  }
}
