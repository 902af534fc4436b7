import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

/** What clients of this cloud have to know. Made once for a state folder: clients outlive a restart of the cloud. */
export type Keys = {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  /** Bearer token of the control endpoints, `/_local/`. */
  readonly controlToken: string;
};

export async function openKeys(stateDir: string | undefined): Promise<Keys> {
  return (await readKeys(stateDir)) ?? (await makeKeys(stateDir));
}

/** What the AWS SDKs and the AWS CLI read, without the endpoint. Version 1 of the CLI reads AWS_DEFAULT_REGION only. */
export function clientEnvironment({ accessKeyId, secretAccessKey }: Keys, region: string): Record<string, string> {
  return {
    AWS_REGION: region,
    AWS_DEFAULT_REGION: region,
    AWS_ACCESS_KEY_ID: accessKeyId,
    AWS_SECRET_ACCESS_KEY: secretAccessKey,
  };
}

/** Compares in a time that does not show where the texts differ. */
export function isSameText(one: string, other: string): boolean {
  return timingSafeEqual(digest(one), digest(other));
}

async function readKeys(stateDir: string | undefined): Promise<Keys | undefined> {
  if (stateDir === undefined) return undefined;
  try {
    const { accessKeyId, secretAccessKey, controlToken } = JSON.parse(
      await readFile(join(stateDir, KEYS_FILE), 'utf8'),
    ) as Partial<Keys>;
    return accessKeyId && secretAccessKey && controlToken ? { accessKeyId, secretAccessKey, controlToken } : undefined;
  } catch {
    return undefined;
  }
}

async function makeKeys(stateDir: string | undefined): Promise<Keys> {
  const keys = {
    // Looks like one of AWS's to clients that check, and like none of theirs to people: EXAMPLE is in no real key.
    accessKeyId: `AKIALOCALEXAMPLE${randomBytes(2).toString('hex').toUpperCase()}`,
    secretAccessKey: randomBytes(32).toString('hex'),
    controlToken: randomBytes(32).toString('hex'),
  };
  if (stateDir !== undefined) {
    await mkdir(stateDir, { recursive: true });
    const path = join(stateDir, KEYS_FILE);
    await writeFile(`${path}.new`, JSON.stringify(keys), { mode: 0o600 });
    await rename(`${path}.new`, path);
  }
  return keys;
}

const KEYS_FILE = 'keys.json';

function digest(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}
