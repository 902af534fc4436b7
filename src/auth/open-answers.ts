import { Injectable, Logger } from '@nestjs/common';
import type { FastifyReply } from 'fastify';
import { Signals } from '../database/signals.js';
import { Problem } from '../http/problem.js';
import { Shutdown } from '../process/shutdown.js';
import type { Caller } from '../http/caller.js';
import { Tokens } from './tokens.js';

/** A client that follows for longer reconnects by itself. */
const LONGEST_MS = 15 * 60_000;
/**
 * Of one token in one process: streams, and requests that wait. Each line that a job prints is written once for each
 * follower: two hundred of one token delayed other requests by 200 ms, sixty did not.
 */
const MOST_AT_ONCE = { stream: 64, wait: 256 } as const;
const RETRY_SECONDS = 5;
/** A revocation whose signal was lost ends what is open after five seconds: this, and the query itself. */
const LOOK_EVERY_MS = 3_000;

type Held = { readonly controller: AbortController; readonly kind: 'stream' | 'wait' };
type Reply = Pick<FastifyReply, 'raw'>;
type Holder = Pick<Caller, 'id' | 'role'>;

/**
 * Ends long answers with their caller's token, which is checked only at their beginning: streams, and requests that
 * wait. A revocation is signalled; where the signal was lost, or a token expires, one query every few seconds for all
 * that is open in this process finds it.
 */
@Injectable()
export class OpenAnswers {
  readonly #logger = new Logger('Access');
  readonly #held = new Map<string, Set<Held>>();
  #timer: NodeJS.Timeout | undefined;

  constructor(
    signals: Signals,
    private readonly shutdown: Shutdown,
    private readonly tokens: Tokens,
  ) {
    signals.on('tokens', (ids) => (ids.length > 0 ? ids.forEach((id) => this.#end(id)) : void this.#look()));
    // A request that waits is answered with the present state, by the code that it waits in.
    shutdown.onBegin(() => [...this.#held.keys()].forEach((id) => this.#end(id, 'stream')));
  }

  /**
   * Aborts when the client leaves, its token ends, this process ends, or it has followed long enough.
   * @throws Problem too-many-requests
   */
  signalFor(reply: Reply, caller: Holder): AbortSignal {
    const { controller } = this.#hold(reply, caller, 'stream');
    const timer = setTimeout(() => controller.abort(), LONGEST_MS).unref();
    reply.raw.once('close', () => clearTimeout(timer));
    // On a connection that is still open: closing would wait for it.
    if (this.shutdown.hasBegun) controller.abort();
    return controller.signal;
  }

  /**
   * Waits for a caller. The signal aborts when the client leaves or its token ends.
   * @throws Problem unauthorized: the token ended meanwhile; too-many-requests
   */
  async whileAllowed<T>(reply: Reply, caller: Holder, wait: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const { controller } = this.#hold(reply, caller, 'wait');
    const { signal } = controller;
    const answer = await wait(signal);
    if (signal.reason === TOKEN_ENDED) {
      throw new Problem('unauthorized', 'This token has expired or was revoked meanwhile.', {
        headers: { 'www-authenticate': 'Bearer error="invalid_token"' },
      });
    }
    return answer;
  }

  #hold(reply: Reply, { id, role }: Holder, kind: Held['kind']): Held {
    const held = { controller: new AbortController(), kind };
    const others = this.#held.get(id) ?? new Set();
    // Admins can delay other requests in many other ways.
    if (role !== 'admin') checkCount(others, kind);
    this.#held.set(id, others.add(held));
    this.#timer ??= setInterval(() => void this.#look(), LOOK_EVERY_MS).unref();
    reply.raw.once('close', () => {
      others.delete(held);
      if (others.size === 0) this.#held.delete(id);
      if (this.#held.size === 0) this.#rest();
      held.controller.abort();
    });
    return held;
  }

  async #look(): Promise<void> {
    try {
      const ended = await this.tokens.findEnded([...this.#held.keys()]);
      for (const id of ended) this.#end(id);
    } catch (error) {
      // The next query finds it; until then new requests are not answered either.
      this.#logger.warn('tokens of open streams could not be checked', { error: String(error) });
    }
  }

  #rest(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  #end(id: string, kind?: Held['kind']): void {
    for (const held of this.#held.get(id) ?? []) {
      if (kind === undefined || held.kind === kind) held.controller.abort(TOKEN_ENDED);
    }
  }
}

function checkCount(held: ReadonlySet<Held>, kind: Held['kind']): void {
  let count = 0;
  for (const other of held) if (other.kind === kind) count += 1;
  if (count < MOST_AT_ONCE[kind]) return;
  const what = kind === 'stream' ? 'follow' : 'wait';
  throw new Problem('too-many-requests', `${count} requests of this token ${what} already, the most allowed at once.`, {
    retryAfterSeconds: RETRY_SECONDS,
  });
}

const TOKEN_ENDED = Symbol('token ended');
