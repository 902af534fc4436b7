import type { FastifyReply } from 'fastify';
import type { Signals } from '../database/signals.js';
import type { Shutdown } from '../process/shutdown.js';
import type { Caller } from './access-rules.js';

/** Who follows for longer comes again by itself and is looked at again, as its token may have expired. */
const LONGEST_MS = 15 * 60_000;

/** When an answer without an end has to end: it outlives the one look at its caller's token. */
export class StreamEnds {
  readonly #streams = new Map<string, Set<AbortController>>();

  constructor(
    signals: Pick<Signals, 'on'>,
    private readonly shutdown: Pick<Shutdown, 'hasBegun' | 'onBegin'>,
  ) {
    signals.on('tokens', (ids) => (ids.length > 0 ? ids : [...this.#streams.keys()]).forEach((id) => this.#end(id)));
    shutdown.onBegin(() => [...this.#streams.keys()].forEach((id) => this.#end(id)));
  }

  /** Aborts when the client leaves, its token is revoked, this process ends, or it has followed long enough. */
  signalFor(reply: Pick<FastifyReply, 'raw'>, { id }: Pick<Caller, 'id'>): AbortSignal {
    const controller = new AbortController();
    const streams = this.#streams.get(id) ?? new Set();
    this.#streams.set(id, streams.add(controller));
    const timer = setTimeout(() => controller.abort(), LONGEST_MS).unref();
    reply.raw.once('close', () => {
      clearTimeout(timer);
      streams.delete(controller);
      if (streams.size === 0 && this.#streams.get(id) === streams) this.#streams.delete(id);
      controller.abort();
    });
    // On a connection that is still open: closing would wait for it.
    if (this.shutdown.hasBegun) controller.abort();
    return controller.signal;
  }

  #end(id: string): void {
    for (const controller of this.#streams.get(id) ?? []) controller.abort();
  }
}
