import { createHmac, type KeyObject } from 'node:crypto';
import { derivedKey } from '../database/derived-keys.js';

/**
 * The secret in the user-data of this launch's instances, 64 hex characters. It is derived from the launch's id, which
 * the instance's tag has too: so it can be verified even when the row of the launch is lost with all others.
 */
export function launchSecretOf(encryptionKey: KeyObject, launchId: string): string {
  return secretBy(derivedKey(encryptionKey, 'launch-secrets'), launchId);
}

/** Every secret that instances of this launch may have: the version before derived it from the key itself. */
export function possibleLaunchSecrets(encryptionKey: KeyObject, launchId: string): string[] {
  return [launchSecretOf(encryptionKey, launchId), secretBy(encryptionKey, launchId)];
}

function secretBy(key: KeyObject, launchId: string): string {
  return createHmac('sha256', key).update(`launch-secret:${launchId}`).digest('hex');
}
