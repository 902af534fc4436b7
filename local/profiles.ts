import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { parseEnv } from 'node:util';

/**
 * The instance profiles of the local cloud: those that jobs may name (`ALLOWED_PROFILES`), looked up where the API looks,
 * in the environment, then in the file at `ENV_FILE` or `.env`. Others are refused at a launch, as by EC2.
 */
export async function readProfiles(env: NodeJS.ProcessEnv, root: string): Promise<string[]> {
  const names = env['ALLOWED_PROFILES'] || (await readEnvFile(env, root))['ALLOWED_PROFILES'] || '';
  return names
    .split(',')
    .map((name) => name.trim())
    .filter((name) => name !== '');
}

/** The API reports a file that cannot be read. */
async function readEnvFile(env: NodeJS.ProcessEnv, root: string): Promise<NodeJS.Dict<string>> {
  const text = await readFile(resolve(root, env['ENV_FILE'] || '.env'), 'utf8').catch(() => '');
  return parseEnv(text);
}
