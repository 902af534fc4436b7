import { CloudError } from '../errors.ts';

/** Prefixes of keys below which the caller may list a bucket, by bucket; a bucket without one may be listed whole. */
export type Listable = Map<string, string>;

/** @throws CloudError for a list of more than what the caller may list, as of a role with a condition on `s3:prefix` */
export function refuseListing(listable: Listable, path: string, query: URLSearchParams): void {
  const allowed = listable.get(bucketOf(path));
  if (allowed !== undefined && !(query.get('prefix') ?? '').startsWith(allowed)) throw denied();
}

/** S3 hides from a caller who may not list the whole bucket that a key is not there. */
export function refuseHidden(listable: Listable, path: string, error: CloudError): CloudError {
  return error.code === 'NoSuchKey' && listable.has(bucketOf(path)) ? denied() : error;
}

function denied(): CloudError {
  return new CloudError('AccessDenied', 'Access Denied');
}

function bucketOf(path: string): string {
  return /^\/([^/]*)/.exec(path)?.[1] ?? '';
}
