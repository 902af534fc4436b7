/** A secret that is looked for, in every form it could have been written down in. */
export type Mark = { readonly name: string; readonly forms: readonly Buffer[] };

/** @param value at least 16 characters, or a form of it could be found by chance */
export function markOf(name: string, value: string): Mark {
  if (value.length < 16) throw new Error(`${name}: too short to look for`);
  const bytes = Buffer.from(value);
  const json = JSON.stringify(value).slice(1, -1);
  const texts = [
    value,
    json,
    JSON.stringify(json).slice(1, -1),
    encodeURIComponent(value),
    new URLSearchParams([['', value]]).toString().slice(1),
    bytes.toString('hex'),
    // Within base64 of something larger a text begins at one of three places of a group of four.
    ...[0, 1, 2].map((offset) => innerBase64(bytes, offset)),
    ...[0, 1, 2].map((offset) => innerBase64(bytes, offset).replaceAll('+', '-').replaceAll('/', '_')),
  ];
  return { name, forms: [...new Set(texts)].map((text) => Buffer.from(text)) };
}

/** Names of the marks in it. Hex counts in capitals as well. */
export function findMarks(marks: readonly Mark[], where: string | Uint8Array): string[] {
  const bytes = Buffer.from(where as string);
  const lower = Buffer.from(bytes.toString('latin1').toLowerCase(), 'latin1');
  return marks.flatMap(({ name, forms }) =>
    forms.some((form) => bytes.includes(form) || lower.includes(form)) ? [name] : [],
  );
}

/** The part that is the same whatever comes before and after. */
function innerBase64(bytes: Buffer, offset: number): string {
  const text = Buffer.concat([Buffer.alloc(offset), bytes])
    .toString('base64')
    .replace(/=+$/, '');
  return text.slice(Math.ceil((offset * 4) / 3), text.length - (((offset + bytes.length) * 8) % 6 === 0 ? 0 : 1));
}
