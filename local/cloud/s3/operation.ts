import type { IncomingHttpHeaders } from 'node:http';
import type { ObjectStore } from './store.ts';

export type S3Request = {
  readonly method: string;
  /** Path style: /bucket/key, still percent-encoded. */
  readonly path: string;
  readonly query: URLSearchParams;
  readonly headers: IncomingHttpHeaders;
  readonly region: string;
};

export type S3Answer = {
  readonly status: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | Buffer;
};

export type S3Operation = {
  /** AWS's name of it, for the ledger and the faults. */
  readonly action: string;
  run(store: ObjectStore, body: Buffer): S3Answer | Promise<S3Answer>;
};
