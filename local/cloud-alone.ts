// The local cloud without the rest of `npm run local`, for docker-compose.local.yml. With the argument `identity` it only
// makes the key that signs identity documents, and its certificate.
import { mkdir, writeFile } from 'node:fs/promises';
import { networkInterfaces } from 'node:os';
import { join } from 'node:path';
import { openIdentity } from './cloud/identity.ts';
import { startLocalCloud } from './cloud/local-cloud.ts';
import { createSimulatedRuntime } from './instances/simulated-runtime.ts';
import { readOptions } from './options.ts';
import { say, warn } from './say.ts';

/** Docker gives up a container for good if the one whose network it joins is not running yet, so this is generous. */
const REJOIN_MS = 5_000;

const options = readOptions(process.env, [], join(import.meta.dirname, '..'));
const stateDir = join(options.directory, 'cloud');
await mkdir(stateDir, { recursive: true });
if (process.argv[2] === 'identity') await writeCertificate();
else await serve();

async function writeCertificate(): Promise<void> {
  const { certificatePem } = await openIdentity(stateDir);
  await writeFile(join(options.directory, 'identity-certificate.pem'), certificatePem);
}

async function serve(): Promise<void> {
  const runtime = createSimulatedRuntime({ report: say });
  const cloud = await startLocalCloud({ port: options.cloudPort, stateDir, runtime });
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
