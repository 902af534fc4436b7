import { createHash, createPrivateKey, generateKeyPair, randomUUID, X509Certificate } from 'node:crypto';
import { link, mkdir, open, readFile, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { writeCertificate } from './certificate.js';

/** The value of `AGENT_PINS`: the pin of nginx's present key, then of its next one. Each is `sha256//<base64>=`. */
export type Pins = readonly [current: string, next: string];

/**
 * Makes the missing ones of the two keys for the TLS that agents connect to. `current.pem` and `next.pem` hold a key
 * and its certificate each, readable for their owner only. The next key exists ahead of its use, so that an instance
 * launched today still trusts nginx after a rotation.
 *
 * @throws Error when a file holds no such pair: it is never replaced
 */
export async function ensureAgentKeys(directory: string): Promise<Pins> {
  await mkdir(directory, { recursive: true, mode: 0o700 });
  for (const name of [CURRENT, NEXT]) {
    if (!(await exists(join(directory, name)))) await makePair(directory, name);
  }
  return await readPins(directory);
}

/**
 * Makes the next key the current one, and a new next key. Instances launched since the previous rotation have a pin of
 * the new current key; older ones do not.
 *
 * @returns the pins from now on, and since when the replaced key was in use
 */
export async function rotateAgentKeys(directory: string): Promise<{ pins: Pins; previousRotation: Date }> {
  await ensureAgentKeys(directory);
  const { ctime: previousRotation } = await stat(join(directory, CURRENT));
  // There is a whole current key at every moment. A run killed in between leaves no next key; the next run makes it.
  await rename(join(directory, NEXT), join(directory, CURRENT));
  return { pins: await ensureAgentKeys(directory), previousRotation };
}

const CURRENT = 'current.pem';
const NEXT = 'next.pem';

/** Puts the file in place whole, so that no reader sees half a key. */
async function makePair(directory: string, name: string): Promise<void> {
  const { privateKey } = await promisify(generateKeyPair)('ec', { namedCurve: 'P-256' });
  const pem =
    privateKey.export({ type: 'pkcs8', format: 'pem' }).toString() +
    writeCertificate(privateKey, 'Scheduler API agents');
  const part = join(directory, `${name}.${randomUUID()}.part`);
  const file = await open(part, 'wx', 0o600);
  try {
    await file.writeFile(pem);
    await file.sync();
  } finally {
    await file.close();
  }
  // Not rename: when two processes do this at once, the first one's key counts for both.
  await link(part, join(directory, name)).catch((error: unknown) => {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  });
  await rm(part, { force: true });
}

async function readPins(directory: string): Promise<Pins> {
  return [await readPin(join(directory, CURRENT)), await readPin(join(directory, NEXT))];
}

/** The pin as curl's --pinnedpubkey accepts it: SHA-256 over the SubjectPublicKeyInfo. */
async function readPin(path: string): Promise<string> {
  const pem = await readFile(path, 'utf8');
  try {
    const certificate = new X509Certificate(pem.slice(pem.indexOf('-----BEGIN CERTIFICATE')));
    if (!certificate.checkPrivateKey(createPrivateKey(pem))) throw new Error('its certificate is for another key');
    const spki = certificate.publicKey.export({ type: 'spki', format: 'der' });
    return `sha256//${createHash('sha256').update(spki).digest('base64')}`;
  } catch (error) {
    throw new Error(`${path} holds no key with its certificate: ${(error as Error).message}`, { cause: error });
  }
}

async function exists(path: string): Promise<boolean> {
  return await stat(path).then(
    () => true,
    () => false,
  );
}
