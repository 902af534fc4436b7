import { type EventSourceMessage, EventSourceParserStream } from 'eventsource-parser/stream';
import { setTimeout as sleep } from 'node:timers/promises';
import { refused, unreachable } from './answers.js';
import type { Session } from './session.js';

export type StreamRequest = {
  /** Like `/v1/events`. */
  readonly path: string;
  readonly query: Readonly<Record<string, string | number | boolean | undefined>>;
};

/** The API sends something every 15 s, at least a comment: after three times that the connection is dead. */
const SILENCE_MS = 45_000;
/** Between the end of a connection and the next: a process that ends closes it, and another takes over. */
const RECONNECT_MS = 500;

/**
 * Server-sent events, over as many connections as it takes: each continues after the last event of the one before, so
 * that a restart of the API loses nothing and repeats nothing. Ends only when its reader does.
 * @throws Failure when the API rejects the request, or does not answer for as long as `--retry-for`
 */
export async function* eventsOf(session: Session, request: StreamRequest): AsyncGenerator<EventSourceMessage> {
  let lastId: string | undefined;
  for (;;) {
    for await (const message of connection(session, request, lastId)) {
      lastId = message.id ?? lastId;
      yield message;
    }
    await sleep(RECONNECT_MS, undefined, { signal: session.signal });
  }
}

/** Events of one connection, until it ends for whatever reason. */
async function* connection(
  session: Session,
  request: StreamRequest,
  lastId: string | undefined,
): AsyncGenerator<EventSourceMessage> {
  const silence = new AbortController();
  const body = await open(session, request, lastId, silence.signal);
  const timer = setTimeout(() => silence.abort(), SILENCE_MS);
  const heard = new TransformStream<Uint8Array, Uint8Array>({
    transform: (bytes, controller) => {
      timer.refresh();
      controller.enqueue(bytes);
    },
  });
  try {
    yield* body.pipeThrough(heard).pipeThrough(new TextDecoderStream()).pipeThrough(new EventSourceParserStream());
  } catch (error) {
    // Lost in the middle, which fetch reports by a TypeError: the next connection continues.
    if (session.signal.aborted || !(error instanceof TypeError || silence.signal.aborted)) throw error;
  } finally {
    clearTimeout(timer);
    silence.abort();
  }
}

async function open(
  { connection: { url, token, fetch }, signal }: Session,
  { path, query }: StreamRequest,
  lastId: string | undefined,
  silence: AbortSignal,
): Promise<ReadableStream<Uint8Array>> {
  const target = new URL(`${url.replace(/\/+$/, '')}${path}`);
  for (const [name, value] of Object.entries(query)) {
    if (value !== undefined) target.searchParams.set(name, String(value));
  }
  const headers = new Headers({ accept: 'text/event-stream' });
  if (token !== undefined) headers.set('authorization', `Bearer ${token}`);
  if (lastId !== undefined) headers.set('last-event-id', lastId);
  const stop = AbortSignal.any([signal, silence]);
  const response = await fetch(target, { headers, redirect: 'manual', signal: stop }).catch((error: unknown) => {
    signal.throwIfAborted();
    throw unreachable(error);
  });
  const isStream = response.headers.get('content-type')?.startsWith('text/event-stream');
  if (response.ok && isStream && response.body) return response.body;
  throw refused(response, await response.json().catch(() => undefined));
}
