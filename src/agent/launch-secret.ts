import { createHmac, type KeyObject } from 'node:crypto';
import { derivedKey } from '../database/derived-keys.js';

/**
 * What an instance of this launch has in its user-data, 64 hex characters. It follows from the launch's id, which stands
 * in the instance's tag too: so it can be checked even when the row of the launch is lost with all others.
 */
export function launchSecretOf(encryptionKey: KeyObject, launchId: string): string {
  return secretBy(derivedKey(encryptionKey, 'launch-secrets'), launchId);
}

/** Every secret an instance of this launch may have been given: launches of the version before had theirs of the key itself. */
export function possibleLaunchSecrets(encryptionKey: KeyObject, launchId: string): string[] {
  return [launchSecretOf(encryptionKey, launchId), secretBy(encryptionKey, launchId)];
}

function secretBy(key: KeyObject, launchId: string): string {
  return createHmac('sha256', key).update(`launch-secret:${launchId}`).digest('hex');
}
