import { createHmac, createSecretKey } from 'node:crypto';
import { describe, expect, it } from '@jest/globals';
import { derivedKey } from '../database/derived-keys.js';
import { launchSecretOf, possibleLaunchSecrets } from './launch-secret.js';

const KEY = createSecretKey(Buffer.alloc(32, 1));
const LAUNCH = '5f0c6f6e-2d0a-4d0e-9a55-0d3b1a4a3c11';
/** As the version before gave it. */
const FORMER = createHmac('sha256', KEY).update(`launch-secret:${LAUNCH}`).digest('hex');

describe('the secret of a launch', () => {
  it('is the same in every process and after every restart', () => {
    expect(launchSecretOf(KEY, LAUNCH)).toBe(launchSecretOf(createSecretKey(Buffer.alloc(32, 1)), LAUNCH));
    expect(launchSecretOf(KEY, LAUNCH)).toMatch(/^[0-9a-f]{64}$/);
  });

  it('is of a key of its own, and instances that are under way keep theirs', () => {
    expect(launchSecretOf(KEY, LAUNCH)).not.toBe(FORMER);
    expect(possibleLaunchSecrets(KEY, LAUNCH)).toEqual([launchSecretOf(KEY, LAUNCH), FORMER]);
    expect(possibleLaunchSecrets(createSecretKey(Buffer.alloc(32, 2)), LAUNCH)).not.toContain(FORMER);
  });
});

describe('keys for other purposes', () => {
  it('are neither the key nor each other', () => {
    const keys = [KEY, derivedKey(KEY, 'launch-secrets'), derivedKey(KEY, 'request-fingerprints')];
    expect(new Set(keys.map((key) => key.export().toString('hex'))).size).toBe(3);
    expect(derivedKey(KEY, 'launch-secrets')).toBe(keys[1]);
  });
});
