import { Readable } from 'node:stream';
import { asError } from '../process/as-error.js';

/** One server-sent event. `id` is what a client sends back as `Last-Event-ID`; neither it nor `event` has a line break. */
export type ServerSentEvent = { readonly id?: string; readonly event?: string; readonly data: string };

/** Of every answer that is such a stream: no cache may keep it, and no proxy hold it back until a buffer is full. */
export const EVENT_STREAM_HEADERS = {
  'content-type': 'text/event-stream',
  'cache-control': 'no-store',
  'x-accel-buffering': 'no',
} as const;

export type EventStreamOptions = {
  /** Ends the stream, as at a shutdown; the client then reconnects with the last id it got. */
  readonly signal?: AbortSignal;
  /** Without an event for so long a comment is sent, as proxies and clients give up on a silent connection. */
  readonly keepAliveMs?: number;
};

/**
 * Events as the body of a `text/event-stream` answer, for `reply.send`. The next event is requested once the client has
 * read those before it, so a slow client holds one event of memory. When the client leaves, `return()` of the events is
 * called; what waits inside them for something to happen must be ended by a signal of its own. An error of the events
 * breaks the connection, so that the client does not take a part for the whole.
 */
export function eventStreamOf(
  events: AsyncIterable<ServerSentEvent>,
  { signal, keepAliveMs = 15_000 }: EventStreamOptions = {},
): Readable {
  return new EventStream(events[Symbol.asyncIterator](), signal, keepAliveMs);
}

const COMMENT = ':\n\n';

class EventStream extends Readable {
  #isRequested = false;
  #hasEnded = false;
  #keepAlive: NodeJS.Timeout | undefined;

  constructor(
    private readonly events: AsyncIterator<ServerSentEvent>,
    private readonly signal: AbortSignal | undefined,
    private readonly keepAliveMs: number,
  ) {
    // Any buffered event is over the mark: the next one is requested when the one before it is sent.
    super({ highWaterMark: 1 });
    signal?.addEventListener('abort', this.#end);
    // Headers are sent with the first bytes: a client should not wait for an event to learn that it has access.
    this.push(COMMENT);
    if (signal?.aborted) this.#end();
  }

  override _read(): void {
    this.#keepAlive ??= setTimeout(() => this.#send(COMMENT), this.keepAliveMs);
    if (this.#isRequested) return;
    this.#isRequested = true;
    this.events.next().then(
      (result) => {
        this.#isRequested = false;
        if (result.done) this.#end();
        else this.#send(format(result.value));
      },
      (error: unknown) => this.destroy(asError(error)),
    );
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    this.#leave();
    done(error);
  }

  #send(text: string): void {
    if (this.#hasEnded) return;
    clearTimeout(this.#keepAlive);
    this.#keepAlive = undefined;
    this.push(text);
  }

  readonly #end = (): void => {
    if (this.#hasEnded) return;
    this.#leave();
    this.push(null);
  };

  #leave(): void {
    if (this.#hasEnded) return;
    this.#hasEnded = true;
    clearTimeout(this.#keepAlive);
    this.signal?.removeEventListener('abort', this.#end);
    // The client has gone: an error of the events is no failure any more.
    this.events.return?.().catch(() => undefined);
  }
}

/** https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream: any of the three ends a line. */
const LINE_BREAK = /\r\n|\r|\n/;

function format({ id, event, data }: ServerSentEvent): string {
  const lines = [
    ...(id === undefined ? [] : [`id: ${id}`]),
    ...(event === undefined ? [] : [`event: ${event}`]),
    ...data.split(LINE_BREAK).map((line) => `data: ${line}`),
  ];
  return `${lines.join('\n')}\n\n`;
}
