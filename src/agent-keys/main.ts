import { chmod, rename, writeFile } from 'node:fs/promises';
import { parseArgs } from 'node:util';
import { ensureAgentKeys, rotateAgentKeys } from './agent-keys.js';

// The keys of the agents' listener, made where they are used: by docker-compose.agents.yml or by hand. Needs no settings.
const USAGE = `usage: agent-keys DIRECTORY [--pins FILE] [--rotate]

Makes DIRECTORY/current.pem and next.pem, a key with its certificate each, where they are missing, and prints AGENT_PINS.
  --pins FILE  writes the pins there, too
  --rotate     the next key becomes the current one: docs/operations.md says what comes before and after`;

await main().catch((error: unknown) => {
  console.error(`agent-keys: ${error instanceof Error ? error.message : String(error)}`);
  process.exitCode = 1;
});

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { pins: { type: 'string' }, rotate: { type: 'boolean' }, help: { type: 'boolean' } },
  });
  const [directory, ...others] = positionals;
  if (values.help === true || directory === undefined || others.length > 0) {
    throw new Error(`DIRECTORY is missing\n${USAGE}`);
  }
  const pins = values.rotate === true ? await rotate(directory) : await ensureAgentKeys(directory);
  const text = pins.join(',');
  if (values.pins !== undefined) await replace(values.pins, `${text}\n`);
  console.log(`AGENT_PINS=${text}`);
}

async function rotate(directory: string): Promise<readonly string[]> {
  const { pins, previousRotation } = await rotateAgentKeys(directory);
  console.error(`agent-keys: the key in use since ${previousRotation.toISOString()} is replaced`);
  return pins;
}

async function replace(path: string, text: string): Promise<void> {
  await writeFile(`${path}.part`, text);
  // Public, whatever the umask says: the API reads it as another user.
  await chmod(`${path}.part`, 0o644);
  await rename(`${path}.part`, path);
}
