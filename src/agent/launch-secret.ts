import { createHmac, type KeyObject } from 'node:crypto';

/**
 * What an instance of this launch has in its user-data, 64 hex characters. It follows from the launch's id, which stands
 * in the instance's tag too: so it can be checked even when the row of the launch is lost with all others.
 */
export function launchSecretOf(encryptionKey: KeyObject, launchId: string): string {
  return createHmac('sha256', encryptionKey).update(`launch-secret:${launchId}`).digest('hex');
}
