import { Failure } from './failure.js';

export type EnvFile = {
  readonly values: Readonly<Record<string, string>>;
  /** Names without a value in the file or in the environment. */
  readonly missing: readonly string[];
};

/** What Go, and with it Docker, treats as white space. */
const LEADING_SPACE = /^[\t-\r \u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]+/;

/**
 * Variables as `docker run --env-file` reads them: `NAME=VALUE` a line, the value unchanged, quotes, `#` and spaces
 * included; `NAME` alone has the value of the environment. Lines that begin with `#` are comments. Errors name the
 * line and show nothing of it: it may hold a secret.
 * @param path only named in errors
 * @throws Failure
 */
export function parseEnvFile(
  path: string,
  text: string,
  environment: Readonly<Record<string, string | undefined>>,
): EnvFile {
  const values = new Map<string, string>();
  const missing = new Set<string>();
  for (const [index, raw] of text.split('\n').entries()) {
    const line = raw.replace(/\r$/, '').replace(LEADING_SPACE, '');
    if (line === '' || line.startsWith('#')) continue;
    const at = line.indexOf('=');
    const name = at < 0 ? line : line.slice(0, at);
    if (name === '') throw new Failure('usage', `${path}, line ${index + 1}: there is no name before the «=»`);
    if (/[ \t]/.test(name)) {
      throw new Failure('usage', `${path}, line ${index + 1}: a name holds no spaces; write NAME=VALUE`);
    }
    const value = at >= 0 ? line.slice(at + 1) : Object.hasOwn(environment, name) ? environment[name] : undefined;
    if (value === undefined) missing.add(name);
    else values.set(name, value);
  }
  return { values: Object.fromEntries(values), missing: [...missing].filter((name) => !values.has(name)) };
}
