import { type Keys, seal, unseal } from '../secrets/sealed.js';

/** What binds a sealed secret to its webhook. */
export function contextOf(webhookId: string): string {
  return `webhook ${webhookId}`;
}

export function sealSecret(keys: Keys, webhookId: string, secret: string): Buffer {
  return seal(keys, secret, contextOf(webhookId));
}

/** The secrets that sign now. @throws Error when no key opens one */
export function openSecrets(keys: Keys, webhookId: string, sealed: readonly (Buffer | null)[]): string[] {
  return sealed.flatMap((value) => (value === null ? [] : [unseal(keys, value, contextOf(webhookId))]));
}
