import { hash } from 'node:crypto';
import { Problem } from './problem.js';

/** Strong tag of a job as a change left it: for the next change, which is of the definition and the desired state. */
export function etagOf(version: number): string {
  return `"${version}"`;
}

/**
 * Strong tag of a job as it was read: the part after the dot changes with everything in the answer, also with the
 * progress of a deployment. `If-Match` compares the version alone, or no job could be changed while it is deploying.
 */
export function readEtagOf(version: number, answer: object): string {
  return `"${version}.${hash('sha1', JSON.stringify(answer), 'base64url').slice(0, 16)}"`;
}

/** Whether the client has this answer. Compared weakly, as RFC 9110 section 13.1.2 says; what cannot be read matches nothing. */
export function isKnown(ifNoneMatch: string | undefined, etag: string): boolean {
  if (ifNoneMatch === undefined) return false;
  if (ifNoneMatch.trim() === '*') return true;
  return [...ifNoneMatch.matchAll(TAG)].some(([, tag]) => `"${tag}"` === etag);
}

/** Versions an `If-Match` accepts; null accepts any. @throws Problem `malformed-request` */
export function versionsOf(ifMatch: string | undefined): number[] | null {
  if (ifMatch === undefined || ifMatch.trim() === '*') return null;
  if (!LIST.test(ifMatch)) {
    const detail = 'must be *, or entity tags in double quotes as an ETag header gave them';
    throw new Problem('malformed-request', `If-Match ${detail}.`, { errors: [{ header: 'If-Match', detail }] });
  }
  // RFC 9110 section 13.1.1 lets no weak tag match. But nginx makes ours weak as it compresses an answer, and they tell
  // versions apart as before. A foreign tag belongs to no version of ours.
  return [...ifMatch.matchAll(TAG)].flatMap(([, tag]) => toVersion(tag));
}

const TAG = /(?:W\/)?"([\x21\x23-\x7e]*)"/g;
const LIST = /^\s*(W\/)?"[\x21\x23-\x7e]*"(\s*,\s*(W\/)?"[\x21\x23-\x7e]*")*\s*$/;

/** Versions are Postgres integers: a larger number would make the statement fail instead of not match. */
function toVersion(tag = ''): number[] {
  const version = /^([1-9]\d{0,8})(\.[\w-]{16})?$/.exec(tag)?.[1];
  return version === undefined ? [] : [Number(version)];
}
