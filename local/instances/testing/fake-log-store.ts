import type { IncomingMessage, ServerResponse } from 'node:http';

export type StoredLine = {
  readonly stream: number;
  readonly time: string;
  readonly text: string;
  readonly seenMs: number;
};
export type LogSegment = { readonly number: number; readonly since: string; readonly bytes: number };
/** What happens to the next segment instead of being stored whole. */
export type LogTrouble = { readonly status: number } | { readonly hangUpAfterBytes: number };

/** The scheduler's side of log segments: whole frames are kept as they come, each once, and acknowledged at the end. */
export class FakeLogStore {
  readonly lines: StoredLine[] = [];
  /** Acknowledged ones. */
  readonly segments: LogSegment[] = [];
  readonly trouble: LogTrouble[] = [];
  readonly #known = new Set<string>();

  /** @param onNews called after every change */
  async receive(number: number, request: IncomingMessage, response: ServerResponse, onNews: () => void): Promise<void> {
    const trouble = this.trouble.shift();
    onNews();
    if (trouble && 'status' in trouble) {
      // Read to its end, as by the API: a connection that is cut in the middle may lose its answer.
      request.on('error', () => undefined).resume();
      response.writeHead(trouble.status).end();
      return;
    }
    let pending: Buffer = Buffer.alloc(0);
    let bytes = 0;
    let heardMs = Date.now();
    try {
      for await (const chunk of request) {
        heardMs = Date.now();
        bytes += (chunk as Buffer).length;
        pending = this.#take(Buffer.concat([pending, chunk as Buffer]));
        onNews();
        if (trouble && bytes >= trouble.hangUpAfterBytes) request.destroy();
      }
    } catch {
      return;
    }
    if (!request.complete) return;
    const since = new URL(request.url ?? '', 'http://api').searchParams.get('since') ?? '';
    this.segments.push({ number, since, bytes });
    const isQuiet = Date.now() - heardMs >= 2_000;
    response.writeHead(200, { 'Logs-Since': this.#next(isQuiet) }).end();
    onNews();
  }

  texts(): string[] {
    return this.lines.map(({ text }) => text);
  }

  /** Two seconds again, as the streams of a container are not in one order; none once nothing can come any more. */
  #next(isQuiet: boolean): string {
    const last = this.lines.reduce((max, { time }) => (time > max ? time : max), '1970-01-01T00:00:00.000000000Z');
    const nanoseconds = BigInt(Date.parse(`${last.slice(0, 19)}Z`)) * 1_000_000n + BigInt(last.slice(20, 29));
    const next = nanoseconds + (isQuiet ? 1n : -2_000_000_000n);
    return next < 0n
      ? `0.${'0'.repeat(9)}`
      : `${next / 1_000_000_000n}.${String(next % 1_000_000_000n).padStart(9, '0')}`;
  }

  #take(buffer: Buffer): Buffer {
    let rest = buffer;
    while (rest.length >= 8 && rest.length >= 8 + rest.readUInt32BE(4)) {
      const end = 8 + rest.readUInt32BE(4);
      const payload = rest.subarray(8, end).toString();
      const [time = ''] = payload.split(' ', 1);
      const line = { stream: rest[0] ?? 0, time, text: payload.slice(time.length + 1).trimEnd(), seenMs: Date.now() };
      const key = `${line.stream} ${time} ${line.text}`;
      if (!this.#known.has(key)) this.lines.push(line);
      this.#known.add(key);
      rest = rest.subarray(end);
    }
    return rest;
  }
}
