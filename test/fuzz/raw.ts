import { connect } from 'node:net';
import type { Draw } from './draw.ts';

// What no HTTP client would send. The answer must be a proper one, or none and the connection ends.

type Step = Buffer | 'end' | { readonly waitMs: number };

export type RawCase = {
  readonly name: string;
  readonly steps: readonly Step[];
  /** How many whole answers there must be; undefined: any number. */
  readonly answers?: number;
};

export type RawOutcome = { readonly bytes: Buffer; readonly isClosed: boolean };

const LONGEST_MS = 700;

export function drawRawCase(draw: Draw, token: string): RawCase {
  const auth = `Authorization: Bearer ${token}\r\n`;
  const get = `GET /v1/jobs?limit=1 HTTP/1.1\r\nHost: x\r\n${auth}\r\n`;
  const json = (head: string, body: string) =>
    `POST /v1/jobs HTTP/1.1\r\nHost: x\r\n${auth}Content-Type: application/json\r\n${head}\r\n${body}`;
  const closing = `GET /health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`;
  const cases: readonly (readonly [name: string, text: string | Buffer, answers?: number])[] = [
    ['five at once', get.repeat(4) + closing, 5],
    ['one good, one bad', `${get}NONSENSE\r\n\r\n`],
    ['one bad, one good', `NONSENSE\r\n\r\n${get}`],
    ['a head cut short', get.slice(0, draw.between(1, get.length - 2))],
    ['a body cut short', json('Content-Length: 100\r\n', '{"name":')],
    ['lines without CR', get.replaceAll('\r\n', '\n')],
    ['a folded header', get.replace('Host: x', 'Host: x\r\nX-A: b\r\n c')],
    ['two lengths', json('Content-Length: 2\r\nContent-Length: 3\r\n', '{}{}')],
    ['length and chunks', json('Content-Length: 5\r\nTransfer-Encoding: chunked\r\n', `0\r\n\r\n${get}`)],
    ['chunks, oddly spelt', json('Transfer-Encoding: xchunked\r\n', '2\r\n{}\r\n0\r\n\r\n')],
    ['chunks twice', json('Transfer-Encoding: chunked, chunked\r\n', '2\r\n{}\r\n0\r\n\r\n')],
    ['a chunk of no size', json('Transfer-Encoding: chunked\r\n', 'zz\r\n{}\r\n0\r\n\r\n')],
    ['a chunk too large', json('Transfer-Encoding: chunked\r\n', 'ffffffffffffffff\r\n{}\r\n')],
    ['a long chunk extension', json('Transfer-Encoding: chunked\r\n', `2;${'a'.repeat(20_000)}\r\n{}\r\n0\r\n\r\n`)],
    [
      'trailers',
      json('Transfer-Encoding: chunked\r\nConnection: close\r\n', '2\r\n{}\r\n0\r\nX-Injected: y\r\n\r\n'),
      1,
    ],
    ['a negative length', json('Content-Length: -1\r\n', '{}')],
    ['a length that is no number', json('Content-Length: 1e1\r\n', '{}')],
    ['a length beyond all', json('Content-Length: 99999999999999999999\r\n', '{}')],
    ['a length of 2 MiB, announced', json('Content-Length: 2097152\r\n', '{}')],
    ['no host', get.replace('Host: x\r\n', '')],
    ['two hosts', get.replace('Host: x', 'Host: x\r\nHost: y')],
    ['a host that is none', get.replace('Host: x', 'Host: [::')],
    ['HTTP/1.0', get.replace('HTTP/1.1', 'HTTP/1.0'), 1],
    ['HTTP/0.9', 'GET /v1/jobs\r\n\r\n'],
    ['HTTP/9.9', get.replace('HTTP/1.1', 'HTTP/9.9')],
    ['HTTP/2', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'],
    ['TLS', Buffer.from('16030100a5010000a10303', 'hex')],
    ['the whole server', 'OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n'],
    ['a tunnel', 'CONNECT 127.0.0.1:22 HTTP/1.1\r\nHost: x\r\n\r\n'],
    ['an absolute URL', get.replace('GET /', 'GET http://evil.example/')],
    ['a URL with a space', get.replace('/v1/jobs', '/v1/ jobs')],
    ['a URL in UTF-8', get.replace('/v1/jobs', '/v1/jöbs')],
    ['a URL with NUL', get.replace('/v1/jobs', '/v1/\0jobs')],
    ['a URL of 20 KiB', get.replace('/v1/jobs', `/${'a'.repeat(20_000)}`)],
    ['a method in lower case', get.replace('GET', 'get')],
    ['a header with NUL', get.replace('Host: x', 'Host: x\r\nX-A: a\0b')],
    ['a header without a name', get.replace('Host: x', 'Host: x\r\n: b')],
    ['a header name with a space', get.replace('Host: x', 'Host: x\r\nX A: b')],
    ['a header in UTF-8', get.replace('Host: x', 'Host: x\r\nX-Request-Id: \u00e9\u20ac')],
    ['a header of 17 KiB', get.replace('Host: x', `Host: x\r\nX-A: ${'a'.repeat(17_000)}`)],
    ['3,000 headers', get.replace('Host: x', `Host: x\r\n${'X:1\r\n'.repeat(3_000)}Y: 1`)],
    ['two tokens', get.replace(auth, `${auth}Authorization: Bearer x\r\n`)],
    ['an upgrade', get.replace('Host: x', 'Host: x\r\nConnection: Upgrade\r\nUpgrade: websocket')],
    ['an upgrade to HTTP/2', get.replace('Host: x', 'Host: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c')],
    ['a promise of a body', json('Content-Length: 2\r\nExpect: 100-continue\r\n', '')],
    ['nothing', ''],
    ['only line ends', '\r\n'.repeat(200)],
    ['noise', Buffer.from(Array.from({ length: 600 }, () => draw.between(0, 255)))],
  ];
  const [name, text, answers] = draw.pick(cases);
  const bytes = Buffer.from(text as string, 'utf8');
  const how = draw.weigh([
    [5, 'whole'],
    [2, 'pieces'],
    [2, 'ended'],
  ] as const);
  const steps: Step[] = how === 'pieces' ? inPieces(draw, bytes) : [bytes];
  if (how === 'ended') steps.push('end');
  return { name: `${name}, ${how}`, steps, ...(answers !== undefined && how === 'whole' && { answers }) };
}

/** As over a slow line: cut anywhere, also within a line end. */
function inPieces(draw: Draw, bytes: Buffer): Step[] {
  const cuts = Array.from({ length: 4 }, () => draw.between(0, bytes.length)).sort((one, other) => one - other);
  return [0, ...cuts].flatMap((from, index): Step[] => [
    bytes.subarray(from, cuts[index] ?? bytes.length),
    { waitMs: draw.between(0, 30) },
  ]);
}

/** @returns what came until the connection ended or the time was over */
export async function sendRaw(url: string, { steps }: RawCase): Promise<RawOutcome> {
  const { hostname, port } = new URL(url);
  const socket = connect({ host: hostname, port: Number(port), allowHalfOpen: true });
  const chunks: Buffer[] = [];
  let isClosed = false;
  const over = new Promise<void>((done) => {
    const timer = setTimeout(done, LONGEST_MS);
    const finish = (): void => {
      isClosed = true;
      clearTimeout(timer);
      done();
    };
    socket.on('data', (chunk: Buffer) => chunks.push(chunk));
    socket.on('end', finish).on('close', finish);
    socket.on('error', () => undefined);
  });
  for (const step of steps) {
    if (step === 'end') socket.end();
    else if ('waitMs' in step) await new Promise((done) => setTimeout(done, step.waitMs));
    else if (socket.writable) socket.write(step);
  }
  await over;
  socket.destroy();
  return { bytes: Buffer.concat(chunks), isClosed };
}

export type RawAnswer = {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer;
};

/** Whole answers, one after the other; a rest that is none is `rest`. */
export function parseAnswers(bytes: Buffer): { readonly answers: RawAnswer[]; readonly rest: Buffer } {
  const answers: RawAnswer[] = [];
  let left = bytes;
  for (;;) {
    const headEnd = left.indexOf('\r\n\r\n');
    const [first = '', ...lines] = left.subarray(0, Math.max(0, headEnd)).toString('latin1').split('\r\n');
    const status = /^HTTP\/1\.1 (\d{3}) /.exec(first)?.[1];
    if (headEnd < 0 || status === undefined) return { answers, rest: left };
    const headers = Object.fromEntries(
      lines.map((line) => [line.slice(0, line.indexOf(':')).toLowerCase(), line.slice(line.indexOf(':') + 1).trim()]),
    );
    const after = left.subarray(headEnd + 4);
    const length = Number(headers['content-length'] ?? 0);
    if (after.length < length) return { answers, rest: left };
    left = after.subarray(length);
    if (status !== '100') answers.push({ status: Number(status), headers, body: after.subarray(0, length) });
  }
}
