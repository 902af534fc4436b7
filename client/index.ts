import { createClient, createConfig } from './generated/client/index.js';
import { Scheduler } from './generated/sdk.gen.js';
import { type Reliability, reliableFetch } from './reliable-fetch.js';

export type * from './generated/types.gen.js';
export type { Reliability, Retry } from './reliable-fetch.js';
export type { Scheduler };

export type Connection = Reliability & {
  /** Where the API is, like `https://scheduler.example.com`. A path is kept: `/v1` is added to it. */
  readonly url: string;
  readonly token?: string | undefined;
};

/**
 * One method an operation of docs/openapi.json: `scheduler.jobs.get({ path: { name: 'web' } })`. Each resolves with
 * `{ data, error, response }`: `error` is the problem of an answer outside 2xx, or what went wrong without an answer.
 */
export function connect({ url, token, ...reliability }: Connection): Scheduler {
  const config = createConfig({
    baseUrl: url.replace(/\/+$/, ''),
    ...(token !== undefined && { auth: token }),
    fetch: reliableFetch(reliability),
    // Logs are plain text unless JSON, which the types describe, is requested.
    headers: { accept: 'application/json' },
    // The only honest server that redirects wants another URL; a POST would arrive there as a GET.
    redirect: 'manual',
  });
  return new Scheduler({ client: createClient(config) });
}
