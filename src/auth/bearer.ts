import { createHash, timingSafeEqual } from 'node:crypto';

/** The token of an `Authorization: Bearer …` header (RFC 6750); the scheme's name has no case (RFC 9110). */
export function bearerTokenOf(authorization: string | undefined): string | undefined {
  return /^bearer +([\x21-\x7e]+) *$/i.exec(authorization ?? '')?.[1];
}

export function digestOf(token: string): Buffer {
  return createHash('sha256').update(token).digest();
}

/** Compares digests: of equal length whatever was sent, and in constant time. */
export function isToken(given: string, expectedDigest: Buffer): boolean {
  return timingSafeEqual(digestOf(given), expectedDigest);
}
