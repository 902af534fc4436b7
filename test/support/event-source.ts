import { once } from 'node:events';
import { get, type IncomingMessage } from 'node:http';
import { text } from 'node:stream/consumers';

/** A server-sent event as a client gets it. */
export type Received = { readonly id: string | null; readonly event: string; readonly data: string };

export type EventSourceOptions = {
  readonly headers?: Readonly<Record<string, string>>;
  readonly lastEventId?: string;
};

/**
 * A client of a stream of events: it reads as fast as `next` is called. On a connection of its own, since `fetch` opens
 * another one when an answer is aborted, which a server that closes has to wait for.
 */
export class EventSource {
  #text = '';
  #hasEnded = false;
  readonly #chunks: AsyncIterator<string>;

  private constructor(private readonly answer: IncomingMessage) {
    this.#chunks = answer.setEncoding('utf8')[Symbol.asyncIterator]() as AsyncIterator<string>;
  }

  /** Resolves once the server answered. @throws Error when it is no stream */
  static async open(url: string, { headers = {}, lastEventId }: EventSourceOptions = {}): Promise<EventSource> {
    const request = get(url, {
      agent: false,
      headers: {
        accept: 'text/event-stream',
        ...headers,
        ...(lastEventId !== undefined && { 'last-event-id': lastEventId }),
      },
    });
    const [answer] = (await once(request, 'response')) as [IncomingMessage];
    if (answer.headers['content-type'] === 'text/event-stream') return new EventSource(answer);
    throw new Error(`no stream: ${answer.statusCode ?? 0} ${await text(answer)}`);
  }

  /** The next event; undefined once the server ended the stream. */
  async next(): Promise<Received | undefined> {
    for (;;) {
      const end = this.#text.indexOf('\n\n');
      if (end >= 0) {
        const block = this.#text.slice(0, end);
        this.#text = this.#text.slice(end + 2);
        const event = parse(block);
        if (event) return event;
      } else {
        if (this.#hasEnded) return undefined;
        const chunk = await this.#chunks.next();
        if (chunk.done) this.#hasEnded = true;
        else this.#text += chunk.value;
      }
    }
  }

  async take(count: number): Promise<Received[]> {
    const events: Received[] = [];
    while (events.length < count) {
      const event = await this.next();
      if (!event) throw new Error(`the stream ended after ${events.length} of ${count} events`);
      events.push(event);
    }
    return events;
  }

  close(): void {
    this.answer.destroy();
  }
}

function parse(block: string): Received | undefined {
  const fields = block.split('\n').map((line) => /^(\w*):? ?(.*)$/.exec(line));
  const valuesOf = (name: string): string[] => fields.flatMap((field) => (field?.[1] === name ? [field[2] ?? ''] : []));
  const data = valuesOf('data');
  if (data.length === 0) return undefined;
  return { id: valuesOf('id')[0] ?? null, event: valuesOf('event')[0] ?? 'message', data: data.join('\n') };
}
