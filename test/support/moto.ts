import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePort } from '../../local/ports.ts';
import { until } from '../../local/until.ts';

const SERVER = join(import.meta.dirname, 'moto_server.py');
const START_MS = 60_000;
const MOTO_MAJOR = 5;

/** Debian's own, and a stranger's of the same name and a later date. */
const IMAGES = [
  { ami_id: 'ami-0debdebdebdebdebd', owner_id: '136693071363', name: 'debian-12-amd64-20261112-2296' },
  { ami_id: 'ami-0bad0bad0bad0bad0', owner_id: '666666666666', name: 'debian-12-amd64-20991231-2296' },
].map((image) => ({
  ...image,
  state: 'available',
  public: true,
  image_location: image.name,
  root_device_type: 'ebs',
  root_device_name: '/dev/xvda',
  description: image.name,
  image_type: 'machine',
  architecture: 'x86_64',
  virtualization_type: 'hvm',
  hypervisor: 'xen',
}));

/** An account of AWS as moto plays it: on loopback, in memory, gone with its process. It boots nothing. */
export type Moto = {
  readonly endpoint: string;
  /** For clients of it: any key is taken for the owner of the account. */
  readonly environment: Record<string, string>;
  /** Forgets everything, the bucket included. */
  reset(): Promise<void>;
  stop(): Promise<void>;
};

/** Why moto cannot be run here; undefined = it can. */
export function whyNoMoto(): string | undefined {
  const asked = spawnSync('python3', ['-c', 'import moto, moto.server; print(moto.__version__)'], {
    encoding: 'utf8',
    timeout: 60_000,
  });
  if (asked.status !== 0) return 'python3 has no moto (pip install "moto[server]")';
  const version = asked.stdout.trim();
  return version.startsWith(`${MOTO_MAJOR}.`) ? undefined : `moto is ${version} here, and not ${MOTO_MAJOR}`;
}

export async function startMoto(region = 'us-west-2'): Promise<Moto> {
  const port = await freePort();
  const endpoint = `http://127.0.0.1:${port}`;
  // Its own metadata lookups and proxies of this machine must not decide anything.
  const { PATH = '', HOME = '/tmp' } = process.env;
  const folder = mkdtempSync(join(tmpdir(), 'moto-'));
  const images = join(folder, 'images.json');
  writeFileSync(images, JSON.stringify(IMAGES));
  const server = spawn('python3', [SERVER, '-H', '127.0.0.1', '-p', String(port)], {
    env: {
      PATH,
      HOME,
      AWS_EC2_METADATA_DISABLED: 'true',
      MOTO_AMIS_PATH: images,
      MOTO_ACM_VALIDATION_WAIT: '1',
      MOTO_IAM_LOAD_MANAGED_POLICIES: 'true',
    },
    stdio: 'ignore',
  });
  const stop = async (): Promise<void> => {
    await end(server);
    rmSync(folder, { recursive: true, force: true });
  };
  try {
    await untilAnswers(`${endpoint}/moto-api/`, server);
  } catch (error) {
    await stop();
    throw error;
  }
  return {
    endpoint,
    environment: {
      AWS_ENDPOINT_URL: endpoint,
      AWS_ACCESS_KEY_ID: 'test',
      AWS_SECRET_ACCESS_KEY: 'test',
      AWS_REGION: region,
      AWS_DEFAULT_REGION: region,
      AWS_EC2_METADATA_DISABLED: 'true',
    },
    reset: async () => {
      const { ok, status } = await fetch(`${endpoint}/moto-api/reset`, { method: 'POST' });
      if (!ok) throw new Error(`moto does not forget: ${status}`);
    },
    stop,
  };
}

async function untilAnswers(url: string, server: ChildProcess): Promise<void> {
  const answers = async (): Promise<boolean> => {
    if (server.exitCode !== null) throw new Error(`moto ended with ${server.exitCode} before it answered`);
    return await fetch(url).then(
      ({ ok }) => ok,
      () => false,
    );
  };
  await until(answers, START_MS, () => `moto does not answer after ${START_MS / 1000} s`);
}

async function end(server: ChildProcess): Promise<void> {
  if (server.exitCode !== null || server.signalCode !== null) return;
  const closed = once(server, 'close');
  server.kill('SIGKILL');
  await closed;
}
