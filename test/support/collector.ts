import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { buffer } from 'node:stream/consumers';

/** A span as it came over the wire. Ids are hexadecimal; `parentId` is '' for a root. */
export type ReceivedSpan = {
  readonly traceId: string;
  readonly spanId: string;
  readonly parentId: string;
  readonly name: string;
  readonly durationMs: number;
  readonly attributes: Readonly<Record<string, unknown>>;
  readonly links: readonly { readonly traceId: string; readonly spanId: string }[];
  readonly isError: boolean;
};

export type Collector = {
  readonly endpoint: string;
  readonly spans: readonly ReceivedSpan[];
  /** Bodies and headers of all requests, for a search through every byte. */
  readonly raw: () => string;
  close(): void;
};

/** An OpenTelemetry collector as far as spans are concerned: OTLP over HTTP, protobuf, on loopback. */
export async function startCollector(): Promise<Collector> {
  const spans: ReceivedSpan[] = [];
  const raw: string[] = [];
  const server = createServer((request, response) => {
    void buffer(request).then((body) => {
      raw.push(`${request.url ?? ''} ${JSON.stringify(request.headers)}\n${body.toString('latin1')}`);
      if (request.url === '/v1/traces') spans.push(...spansOf(body));
      response.writeHead(200, { 'content-type': 'application/x-protobuf' }).end();
    });
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  return {
    endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    spans,
    raw: () => raw.join('\n'),
    close: () => {
      server.closeAllConnections();
      server.close();
    },
  };
}

// opentelemetry/proto/trace/v1/trace.proto, by field number.

function spansOf(request: Buffer): ReceivedSpan[] {
  return fieldsOf(request)
    .messages(1)
    .flatMap((resourceSpans) => resourceSpans.messages(2))
    .flatMap((scopeSpans) => scopeSpans.messages(2))
    .map((span) => ({
      traceId: span.hex(1),
      spanId: span.hex(2),
      parentId: span.hex(4),
      name: span.text(5),
      durationMs: Number(span.number(8) - span.number(7)) / 1e6,
      attributes: Object.fromEntries(
        span.messages(9).map((pair) => [pair.text(1), pair.messages(2).map(valueOf)[0]] as const),
      ),
      links: span.messages(13).map((link) => ({ traceId: link.hex(1), spanId: link.hex(2) })),
      isError: span.messages(15).some((status) => status.number(3) === 2n),
    }));
}

function valueOf(any: Fields): unknown {
  if (any.has(1)) return any.text(1);
  if (any.has(2)) return any.number(2) === 1n;
  if (any.has(3)) return Number(any.number(3));
  if (any.has(5)) return any.messages(5).flatMap((list) => list.messages(1).map(valueOf));
  return undefined;
}

type Fields = {
  has(field: number): boolean;
  number(field: number): bigint;
  text(field: number): string;
  hex(field: number): string;
  messages(field: number): Fields[];
};

/** https://protobuf.dev/programming-guides/encoding */
function fieldsOf(bytes: Buffer): Fields {
  const found = new Map<number, (bigint | Buffer)[]>();
  let at = 0;
  const varint = (): bigint => {
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const byte = bytes.readUInt8(at);
      at += 1;
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
  };
  const take = (length: number): Buffer => bytes.subarray(at, (at += length));
  while (at < bytes.length) {
    const key = varint();
    const [field, type] = [Number(key >> 3n), Number(key & 7n)];
    const value =
      type === 0 ? varint() : type === 1 ? take(8).readBigUInt64LE() : take(type === 5 ? 4 : Number(varint()));
    found.set(field, [...(found.get(field) ?? []), value]);
  }
  const buffers = (field: number) => (found.get(field) ?? []).filter((value) => Buffer.isBuffer(value));
  return {
    has: (field: number) => found.has(field),
    number: (field: number): bigint => (found.get(field) ?? []).find((value) => typeof value === 'bigint') ?? 0n,
    text: (field: number): string => buffers(field)[0]?.toString('utf8') ?? '',
    hex: (field: number): string => buffers(field)[0]?.toString('hex') ?? '',
    messages: (field: number): Fields[] => buffers(field).map(fieldsOf),
  };
}
