import { Readable } from 'node:stream';

/** One server-sent event. `id` is what a client sends back as `Last-Event-ID`; neither it nor `event` has a line break. */
export type ServerSentEvent = { readonly id?: string; readonly event?: string; readonly data: string };

/** Of every answer that is such a stream: nobody may keep it, and no proxy hold it back until it has a buffer full. */
export const EVENT_STREAM_HEADERS = {
  'content-type': 'text/event-stream',
  'cache-control': 'no-store',
  'x-accel-buffering': 'no',
} as const;

export type EventStreamOptions = {
  /** Ends the stream, as at a shutdown; the client then comes again with the last id it saw. */
  readonly signal?: AbortSignal;
  /** Without an event for so long a comment is sent, as proxies and clients give up on a silent connection. */
  readonly keepAliveMs?: number;
};

/**
 * Events as the body of a `text/event-stream` answer, for `reply.send`. The next event is asked for once the client took
 * those before it, so a slow client holds one event of memory. When the client leaves, `return()` of the events is
 * called; what waits inside them for something to happen must be ended by a signal of its own. An error of the events
 * breaks the connection, so that nobody takes half of them for the whole.
 */
export function eventStreamOf(
  events: AsyncIterable<ServerSentEvent>,
  { signal, keepAliveMs = 15_000 }: EventStreamOptions = {},
): Readable {
  return new EventStream(events[Symbol.asyncIterator](), signal, keepAliveMs);
}

const COMMENT = ':\n\n';

class EventStream extends Readable {
  #isAsked = false;
  #hasEnded = false;
  #keepAlive: NodeJS.Timeout | undefined;

  constructor(
    private readonly events: AsyncIterator<ServerSentEvent>,
    private readonly signal: AbortSignal | undefined,
    private readonly keepAliveMs: number,
  ) {
    // Whatever is held is over the mark: the next event is asked for when the one before it has left.
    super({ highWaterMark: 1 });
    signal?.addEventListener('abort', this.#end);
    // Headers leave with the first bytes: nobody should have to wait for an event to learn that it was let in.
    this.push(COMMENT);
    if (signal?.aborted) this.#end();
  }

  override _read(): void {
    if (this.#hasEnded) return;
    this.#keepAlive ??= setTimeout(() => this.#send(COMMENT), this.keepAliveMs);
    if (this.#isAsked) return;
    this.#isAsked = true;
    this.events.next().then(
      (result) => {
        this.#isAsked = false;
        if (result.done) this.#end();
        else this.#send(format(result.value));
      },
      (error: unknown) => this.destroy(error instanceof Error ? error : new Error(String(error))),
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
    // What the client left in the middle of is nobody's failure any more.
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
