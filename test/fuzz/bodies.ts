import type { Draw } from './draw.ts';
import { RAW_NUMBERS } from './hostile.ts';
import { textOf } from './values.ts';

// From values to bytes, and what can go wrong on that way.

export function encode(draw: Draw, mediaType: string, value: unknown, faults: number): Buffer {
  if (/json/.test(mediaType)) return encodeJson(draw, value, faults);
  if (/form/.test(mediaType)) return encodeForm(draw, value, faults);
  if (typeof value === 'string') return /multiplexed/.test(mediaType) ? frames(draw, value) : Buffer.from(value);
  return encodeJson(draw, value, faults);
}

function encodeJson(draw: Draw, value: unknown, faults: number): Buffer {
  const text = JSON.stringify(value) as string | undefined;
  const bytes = Buffer.from(text ?? 'null');
  if (!draw.chance(faults)) return bytes;
  const plain = bytes.toString();
  return draw.weigh<() => Buffer>([
    [2, () => bytes.subarray(0, draw.between(0, bytes.length))],
    [1, () => Buffer.concat([bytes, Buffer.from(draw.pick(['x', '}', ',', '\0', ' {}']))])],
    [1, () => Buffer.concat([Buffer.from([0xef, 0xbb, 0xbf]), bytes])],
    [1, () => Buffer.from(plain, 'utf16le')],
    [2, () => withBytes(draw, bytes)],
    [2, () => Buffer.from(plain.replace(/(?<=[:[,])-?\d+(?=[,}\]])/, draw.pick(RAW_NUMBERS)))],
    [1, () => Buffer.from(plain.replace(/^\{/, `{"${draw.pick(['name', '__proto__', 'constructor'])}":1,`))],
    [1, () => Buffer.from(plain.replace(/^\{/, '{"env":{"A":"1"},"env":{"A":"2"},'))],
    [1, () => Buffer.from(plain.replaceAll('"', "'"))],
    [1, () => Buffer.from(`[${plain}]`)],
    [1, () => Buffer.from('['.repeat(draw.pick([100, 20_000])))],
    [1, () => Buffer.from('{"a":'.repeat(5_000) + '1' + '}'.repeat(5_000))],
    [1, () => Buffer.from(draw.pick(['', ' ', 'null', '0', '""', '[]', 'true', '"__proto__"']))],
  ])();
}

/** Bytes that are no UTF-8, anywhere. */
function withBytes(draw: Draw, bytes: Buffer): Buffer {
  const at = draw.between(0, bytes.length);
  const odd = Buffer.from(draw.pick([[0xff], [0xc3, 0x28], [0xed, 0xa0, 0x80], [0xf8, 0x88, 0x80, 0x80], [0x00]]));
  return Buffer.concat([bytes.subarray(0, at), odd, bytes.subarray(at)]);
}

function encodeForm(draw: Draw, value: unknown, faults: number): Buffer {
  if (typeof value !== 'object' || value === null) return Buffer.from(textOf(value));
  const entries = Object.entries(value).map(([name, inner]: [string, unknown]): [string, string] => [
    name.toWellFormed(),
    textOf(inner),
  ]);
  const text = new URLSearchParams(entries).toString();
  if (!draw.chance(faults)) return Buffer.from(text);
  return Buffer.from(
    draw.pick([
      `${text}&${text}`,
      text.slice(0, draw.between(0, text.length)),
      text.replaceAll('%', '%%'),
      `${text}&__proto__=1&constructor[a]=1`,
      `document[]=1&${text}`,
      '&'.repeat(2_000),
      '='.repeat(2_000),
      Array.from({ length: 3_000 }, (_, n) => `k${n}=v`).join('&'),
    ]),
  );
}

/** Docker's multiplexed stream: stdout and stderr in frames of one header and one piece of text. */
function frames(draw: Draw, text: string): Buffer {
  const lines = text.split('\n').map((line, n) => `2026-11-25T19:00:${String(n % 60).padStart(2, '0')}.1Z ${line}\n`);
  const pieces = lines.map((line) => {
    const header = Buffer.alloc(8);
    header.writeUInt8(draw.pick([1, 1, 1, 2, 0, 3, 255]), 0);
    header.writeUInt32BE(draw.chance(0.9) ? Buffer.byteLength(line) : draw.pick([0, 1, 2 ** 31, 2 ** 32 - 1]), 4);
    return Buffer.concat([header, Buffer.from(line)]);
  });
  const all = Buffer.concat(pieces);
  return draw.chance(0.8) ? all : all.subarray(0, draw.between(0, all.length));
}
