import { createCipheriv, createDecipheriv, hash, type KeyObject, randomBytes } from 'node:crypto';

/** 32 bytes each. The first one seals, all of them open. */
export type Keys = readonly [KeyObject, ...KeyObject[]];

/** The format of version 0.1, without the id of the key. */
const WITHOUT_KEY_ID = 1;
const VERSION = 2;
const KEY_ID_BYTES = 4;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;

/**
 * AES-256-GCM: version, id of the key, nonce, tag, ciphertext.
 * @param context what it belongs to; a sealed value moved to another row does not open
 */
export function seal([key]: Keys, text: string, context: string): Buffer {
  const header = headerOf(key);
  const nonce = randomBytes(NONCE_BYTES);
  const cipher = createCipheriv('aes-256-gcm', key, nonce).setAAD(Buffer.concat([header, Buffer.from(context)]));
  const ciphertext = Buffer.concat([cipher.update(text, 'utf8'), cipher.final()]);
  return Buffer.concat([header, nonce, cipher.getAuthTag(), ciphertext]);
}

/** @throws Error when no key opens it, or the context or a byte is another one */
export function unseal(keys: Keys, sealed: Uint8Array, context: string): string {
  const bytes = Buffer.from(sealed);
  const isOld = bytes[0] === WITHOUT_KEY_ID;
  if (!isOld && bytes[0] !== VERSION)
    throw new Error(`sealed value of ${context}: unknown version ${String(bytes[0])}`);
  const header = bytes.subarray(0, isOld ? 1 : 1 + KEY_ID_BYTES);
  const authenticated = isOld ? Buffer.from(context) : Buffer.concat([header, Buffer.from(context)]);
  let failure: unknown;
  for (const key of keys) {
    if (!isOld && !headerOf(key).equals(header)) continue;
    try {
      return open(key, bytes.subarray(header.length), authenticated);
    } catch (error) {
      failure = error;
    }
  }
  throw new Error(
    `sealed value of ${context} does not open: is the key it was sealed with in ENCRYPTION_KEY or ENCRYPTION_KEYS_OLD?`,
    { cause: failure },
  );
}

/** The first bytes of all values that this key sealed. */
export function headerOf(key: KeyObject): Buffer {
  let header = HEADERS.get(key);
  if (!header) {
    const id = hash('sha256', Buffer.concat([Buffer.from('key id of scheduler-api'), key.export()]), 'buffer');
    header = Buffer.concat([Buffer.from([VERSION]), id.subarray(0, KEY_ID_BYTES)]);
    HEADERS.set(key, header);
  }
  return header;
}

const HEADERS = new WeakMap<KeyObject, Buffer>();

function open(key: KeyObject, bytes: Buffer, authenticated: Buffer): string {
  const nonce = bytes.subarray(0, NONCE_BYTES);
  const tag = bytes.subarray(NONCE_BYTES, NONCE_BYTES + TAG_BYTES);
  const decipher = createDecipheriv('aes-256-gcm', key, nonce, { authTagLength: TAG_BYTES });
  decipher.setAAD(authenticated).setAuthTag(tag);
  return Buffer.concat([decipher.update(bytes.subarray(NONCE_BYTES + TAG_BYTES)), decipher.final()]).toString('utf8');
}
