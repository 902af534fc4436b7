import { z } from 'zod';

// What is wrong with a field, in the words the schemas use for it themselves: what it must be. Zod’s own speak of its
// types and of undefined, which no JSON holds.

const TYPES: Readonly<Record<string, string>> = {
  string: 'a string',
  number: 'a number',
  int: 'a whole number',
  boolean: 'true or false',
  array: 'an array',
  object: 'an object',
  record: 'an object',
};
const UNITS: Readonly<Record<string, readonly [string, string]>> = {
  string: ['character', 'characters'],
  array: ['item', 'items'],
};

const english = z.locales.en().localeError;

/** Holds for every schema that has no words of its own. */
z.config({ localeError: (issue) => wordsOf(issue) ?? english(issue) });

function wordsOf(issue: z.core.$ZodRawIssue): string | undefined {
  if (issue.code === 'invalid_type') {
    const type = TYPES[issue.expected];
    return type && required(issue, `must be ${type}`);
  }
  if (issue.code === 'invalid_value') {
    const { values } = issue;
    return required(issue, `must be ${values.length > 1 ? 'one of ' : ''}${values.map(shown).join(', ')}`);
  }
  if (issue.code === 'too_small') {
    if (issue.minimum === 1 && UNITS[issue.origin]) return 'must not be empty';
    return bounded(issue.origin, issue.inclusive === false ? 'more than' : 'at least', issue.minimum);
  }
  if (issue.code !== 'too_big') return undefined;
  return bounded(issue.origin, issue.inclusive === false ? 'less than' : 'at most', issue.maximum);
}

function required({ input }: z.core.$ZodRawIssue, must: string): string {
  return input === undefined ? `is required, and ${must}` : must;
}

function bounded(origin: string, how: string, bound: number | bigint): string {
  const units = UNITS[origin];
  return units ? `must have ${how} ${bound} ${units[bound === 1 ? 0 : 1]}` : `must be ${how} ${bound}`;
}

function shown(value: z.core.util.Primitive): string {
  return typeof value === 'string' ? `"${value}"` : String(value);
}
