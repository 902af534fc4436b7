// The local cloud without the rest of `npm run local`, for docker-compose.local.yml. With the argument `keys` it only makes
// the key that signs identity documents, with its certificate, and the keys of clients, in a file `env`.
import { mkdir, writeFile } from 'node:fs/promises';
import { networkInterfaces } from 'node:os';
import { join } from 'node:path';
import { openIdentity } from './cloud/identity.ts';
import { clientEnvironment, openKeys } from './cloud/keys.ts';
import { DEFAULT_REGION, startLocalCloud } from './cloud/local-cloud.ts';
import { writeVariables } from './environment.ts';
import { createSimulatedRuntime } from './instances/simulated-runtime.ts';
import { readOptions } from './options.ts';
import { readProfiles } from './profiles.ts';
import { say, warn } from './say.ts';

/** Docker gives up a container for good if the one whose network it joins is not running yet, so this is generous. */
const REJOIN_MS = 5_000;

const root = join(import.meta.dirname, '..');
const options = readOptions(process.env, [], root);
const stateDir = join(options.directory, 'cloud');
await mkdir(stateDir, { recursive: true });
if (process.argv[2] === 'keys') await writeKeys();
else await serve();

async function writeKeys(): Promise<void> {
  const { certificatePem } = await openIdentity(stateDir);
  await writeFile(join(options.directory, 'identity-certificate.pem'), certificatePem);
  const keys = await openKeys(stateDir);
  const variables = { ...clientEnvironment(keys, DEFAULT_REGION), LOCAL_CONTROL_TOKEN: keys.controlToken };
  await writeVariables(options.directory, variables);
}

async function serve(): Promise<void> {
  const runtime = createSimulatedRuntime({ report: say });
  const profiles = await readProfiles(process.env, root);
  const { cloudPort: port, cloudHosts: hosts } = options;
  const cloud = await startLocalCloud({ port, hosts, stateDir, profiles, runtime });
  say(`local cloud ${cloud.endpoint}; instances and containers are simulated`);
  const stop = (code: number): void => void cloud.stop().then(() => process.exit(code));
  process.once('SIGTERM', () => stop(0)).once('SIGINT', () => stop(0));

  const watch = setInterval(() => {
    if (hasNetwork()) return;
    clearInterval(watch);
    warn('the container whose network this one shares was started again: following it');
    setTimeout(() => stop(1), REJOIN_MS);
  }, 1_000);
}

/** Loopback alone is what is left of the network of a container that has ended. */
function hasNetwork(): boolean {
  return Object.values(networkInterfaces()).some((addresses) => addresses?.some(({ internal }) => !internal));
}
