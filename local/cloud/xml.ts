export type XmlValue =
  string | number | boolean | Date | undefined | readonly XmlValue[] | { readonly [name: string]: XmlValue };

/** EC2's way of writing: a list is a wrapper of `<item>` elements, an undefined field is left out. */
export function toXml(name: string, value: XmlValue, attributes = ''): string {
  if (value === undefined) return '';
  const inner = content(value);
  return inner === '' ? `<${name}${attributes}/>` : `<${name}${attributes}>${inner}</${name}>`;
}

/** EC2 and S3 know whole seconds only, and write a fraction all the same. */
export function wireTime(time: Date): string {
  return `${time.toISOString().slice(0, 19)}.000Z`;
}

export function escapeXml(text: string): string {
  return text.replace(UNSAFE, (character) => ESCAPES[character] ?? '\uFFFD');
}

function content(value: Exclude<XmlValue, undefined>): string {
  if (typeof value === 'string') return escapeXml(value);
  if (typeof value !== 'object') return String(value);
  if (value instanceof Date) return wireTime(value);
  if (isList(value)) return value.map((item) => toXml('item', item)).join('');
  return Object.entries(value)
    .map(([name, child]) => toXml(name, child))
    .join('');
}

function isList(value: object): value is readonly XmlValue[] {
  return Array.isArray(value);
}

// Control characters have no form in XML 1.0 at all; a parser would refuse the whole answer.
// eslint-disable-next-line no-control-regex
const UNSAFE = /[<>&"'\r\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]/g;
const ESCAPES: Readonly<Record<string, string>> = {
  '<': '&lt;',
  '>': '&gt;',
  '&': '&amp;',
  '"': '&quot;',
  "'": '&apos;',
  '\r': '&#13;',
};
