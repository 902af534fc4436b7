import { InvalidArgumentError } from 'commander';
import { isIP } from 'node:net';
import { connect, type Retry, type Scheduler } from '../client/index.js';
import { reliableFetch } from '../client/reliable-fetch.js';
import { reasonOf } from './answers.js';
import { secondsOf } from './duration.js';
import { Failure } from './failure.js';
import type { Terminal } from './terminal.js';
import { readText } from './text-input.js';

/** Options of every command. */
export type GlobalOptions = {
  readonly url?: string;
  readonly tokenFile?: string;
  readonly retryFor?: number;
  readonly json?: boolean;
  readonly quiet?: boolean;
};

export type Environment = Readonly<Record<string, string | undefined>>;

/** What a command has to work with. */
export type Session = {
  readonly scheduler: Scheduler;
  readonly terminal: Terminal;
  /** Machines read standard output. */
  readonly isJson: boolean;
  /** Print no progress. */
  readonly isQuiet: boolean;
  /** Aborted by Ctrl-C and SIGTERM. */
  readonly signal: AbortSignal;
  /** For what is no call of the client: streams. */
  readonly connection: { readonly url: string; readonly token: string | undefined; readonly fetch: typeof fetch };
};

/** What `npm run local` serves. */
const DEFAULT_URL = 'http://127.0.0.1:3000';
const DEFAULT_RETRY_SECONDS = 30;

/** @throws Failure naming the setting that is wrong */
export function openSession(
  options: GlobalOptions,
  environment: Environment,
  { terminal, signal }: Pick<Session, 'terminal' | 'signal'>,
): Session {
  const url = checkUrl(options.url ?? (environment['SCHEDULER_URL'] || DEFAULT_URL));
  const token = readToken(options.tokenFile, environment);
  const isQuiet = options.quiet ?? false;
  if (token !== undefined && url.protocol === 'http:' && !isLoopback(url.hostname)) {
    terminal.note(`warning: the token goes to ${url.host} in clear text; use https`);
  }
  const retryForMs = (options.retryFor ?? DEFAULT_RETRY_SECONDS) * 1_000;
  const reliability = { retryForMs, onRetry: announcing(terminal, isQuiet), signal };
  const scheduler = connect({ url: url.href, token, ...reliability });
  const connection = { url: url.href, token, fetch: reliableFetch(reliability) };
  return { scheduler, terminal, isJson: options.json ?? false, isQuiet, signal, connection };
}

export function parseSeconds(text: string): number {
  const seconds = secondsOf(text);
  if (seconds === undefined) throw new InvalidArgumentError('It is no time: write 90, 90s, 10m or 2h.');
  return seconds;
}

function checkUrl(text: string): URL {
  const url = URL.parse(text);
  if (!url || !/^https?:$/.test(url.protocol)) {
    throw new Failure('usage', 'SCHEDULER_URL (or --url) must be like https://scheduler.example.com');
  }
  if (url.search || url.hash) {
    throw new Failure('usage', 'SCHEDULER_URL (or --url) must end with its path, without «?» and «#»');
  }
  if (url.username || url.password) {
    throw new Failure('usage', 'SCHEDULER_URL (or --url) must hold no credentials: use SCHEDULER_TOKEN');
  }
  return url;
}

/** From the environment or a file: what is an argument can be read by everybody on the machine. */
function readToken(file: string | undefined, environment: Environment): string | undefined {
  const path = file ?? environment['SCHEDULER_TOKEN_FILE'];
  const token = (path ? readText(path) : environment['SCHEDULER_TOKEN'])?.trim();
  if (!token) {
    if (path) throw new Failure('usage', `${path} holds no token`);
    return undefined;
  }
  if (!/^[\x21-\x7e]+$/.test(token)) throw new Failure('usage', 'the token holds characters no token has');
  return token;
}

function isLoopback(hostname: string): boolean {
  const host = hostname.replace(/^\[|\]$/g, '');
  return host === 'localhost' || host === '::1' || (isIP(host) === 4 && host.startsWith('127.'));
}

/** Notes once why nothing happens, not at every try. */
function announcing(terminal: Terminal, isQuiet: boolean): (retry: Retry) => void {
  let last = '';
  return ({ status, error }) => {
    const why = status === undefined ? reasonOf(error) : `answered ${status}`;
    if (isQuiet || why === last) return;
    last = why;
    terminal.note(`${why}; trying again`);
  };
}
