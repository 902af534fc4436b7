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

/** Everything of S3 that the local cloud answers, by AWS's names. */
export const S3_ACTIONS = [
  'CreateBucket',
  'DeleteObject',
  'GetObject',
  'HeadBucket',
  'HeadObject',
  'ListBuckets',
  'ListObjectsV2',
  'PutObject',
] as const;

export type S3Operation = {
  /** For the ledger and the faults. */
  readonly action: (typeof S3_ACTIONS)[number];
  run(store: ObjectStore, body: Buffer): S3Answer | Promise<S3Answer>;
};
