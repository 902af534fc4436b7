import { createSecretKey, hkdfSync, type KeyObject } from 'node:crypto';

/** The purpose of a derived key. Keys of different purposes reveal nothing of each other. */
export type KeyPurpose = 'launch-secrets' | 'request-fingerprints';

/** HKDF-SHA-256 (RFC 5869) of ENCRYPTION_KEY, which itself only seals. The same key and purpose give the same key. */
export function derivedKey(key: KeyObject, purpose: KeyPurpose): KeyObject {
  const known = DERIVED.get(key) ?? new Map<KeyPurpose, KeyObject>();
  DERIVED.set(key, known);
  let derived = known.get(purpose);
  if (!derived) {
    const bytes = hkdfSync('sha256', key, '', `scheduler-api ${purpose} 1`, 32);
    derived = createSecretKey(Buffer.from(bytes));
    known.set(purpose, derived);
  }
  return derived;
}

const DERIVED = new WeakMap<KeyObject, Map<KeyPurpose, KeyObject>>();
