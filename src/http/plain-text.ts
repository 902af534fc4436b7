import type { z } from 'zod';

/**
 * Text on one line, as people and headers can have it. The expression is in the documentation, so any engine must
 * accept it: classes of Unicode (`\p{Cc}`) need a flag in JavaScript, and are missing in Python's and Go's.
 */
export function plainText(text: z.ZodString): z.ZodString {
  const message = 'must not contain control characters';
  // eslint-disable-next-line no-control-regex -- these are meant
  const onOneLine = /^[^\x00-\x1f\x7f-\x9f]*$/;
  return text.regex(onOneLine, { error: message, abort: true }).refine((value) => value.isWellFormed(), message);
}

/** The same without spaces, wherever in Unicode. */
export function unspacedText(text: z.ZodString): z.ZodString {
  const message = 'must not contain spaces or control characters';
  // eslint-disable-next-line no-control-regex -- these are meant
  const unspaced = /^[^\x00-\x20\x7f-\xa0]*$/;
  const isUnspaced = (value: string): boolean => value.isWellFormed() && !/\s/.test(value);
  return text.regex(unspaced, { error: message, abort: true }).refine(isUnspaced, message);
}
