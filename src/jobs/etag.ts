import { Problem } from '../http/problem.js';

/** Strong tag of a job: it changes with the definition and the desired state, not with how far a deployment got. */
export function etagOf(version: number): string {
  return `"${version}"`;
}

/** Versions an `If-Match` accepts; null accepts any. @throws Problem `malformed-request` */
export function versionsOf(ifMatch: string | undefined): number[] | null {
  if (ifMatch === undefined || ifMatch.trim() === '*') return null;
  if (!LIST.test(ifMatch)) {
    const detail = 'must be *, or entity tags in double quotes as an ETag header gave them';
    throw new Problem('malformed-request', `If-Match ${detail}.`, { errors: [{ header: 'If-Match', detail }] });
  }
  // A weak tag never matches here (RFC 9110 section 13.1.1), and a foreign one belongs to no version of ours.
  return [...ifMatch.matchAll(TAG)].filter(([, weak]) => weak === undefined).flatMap(([, , tag]) => toVersion(tag));
}

const TAG = /(W\/)?"([\x21\x23-\x7e]*)"/g;
const LIST = /^\s*(W\/)?"[\x21\x23-\x7e]*"(\s*,\s*(W\/)?"[\x21\x23-\x7e]*")*\s*$/;

/** Versions are Postgres integers: a larger number would make the statement fail instead of not match. */
function toVersion(tag: string | undefined): number[] {
  return tag !== undefined && /^[1-9]\d{0,8}$/.test(tag) ? [Number(tag)] : [];
}
