import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from '@jest/globals';
import { readProfiles } from './profiles.ts';

let root: string;
beforeAll(async () => {
  root = await mkdtemp(join(tmpdir(), 'profiles-'));
  await writeFile(join(root, '.env'), 'ALLOWED_PROFILES=of-the-file, second\n');
  await writeFile(join(root, 'other'), 'ADMIN_TOKEN=x\n');
});
afterAll(async () => rm(root, { recursive: true }));

it.each([
  ['of the environment', { ALLOWED_PROFILES: ' a,b ,,c' }, ['a', 'b', 'c']],
  ['of .env', {}, ['of-the-file', 'second']],
  ['of .env, as an empty value counts as none', { ALLOWED_PROFILES: '' }, ['of-the-file', 'second']],
  ['of ENV_FILE, which names none', { ENV_FILE: 'other' }, []],
  ['of a file that is not there', { ENV_FILE: 'nowhere' }, []],
])('the profiles of the local cloud are those %s', async (_, env, expected) => {
  await expect(readProfiles(env, root)).resolves.toEqual(expected);
});
