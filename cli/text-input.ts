import { readFileSync } from 'node:fs';
import { buffer } from 'node:stream/consumers';
import { Failure } from './failure.js';

// Text from files and standard input. It must be UTF-8: replaced characters would be sent without notice.

/** @throws Failure */
export function readText(path: string): string {
  let bytes: Buffer;
  try {
    bytes = readFileSync(path);
  } catch (error) {
    throw new Failure('usage', `cannot read ${path}: ${(error as NodeJS.ErrnoException).code ?? String(error)}`);
  }
  return textOf(bytes, path);
}

/** The value of a secret from standard input, without the line break at its end. @throws Failure */
export async function readSecret(input: NodeJS.ReadableStream): Promise<string> {
  const value = textOf(await buffer(input), 'standard input').replace(/\r?\n$/, '');
  // A failed program before the pipe is more likely than an empty secret on purpose.
  if (value === '') throw new Failure('usage', 'standard input is empty: there is no value of a secret in it');
  return value;
}

function textOf(bytes: Uint8Array, source: string): string {
  try {
    // A byte order mark at the beginning is taken off, too.
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch {
    throw new Failure('usage', `${source} is not UTF-8`);
  }
}
