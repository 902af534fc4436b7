import type { InstanceRuntime } from './cloud/runtime.ts';
import { type Bridge, findBridge } from './instances/bridge.ts';
import { callEngine } from './instances/docker-engine.ts';
import { createDockerRuntime, findDockerEngine } from './instances/docker-runtime.ts';
import { HOST_GATEWAY, type PrivateNames } from './instances/private-names.ts';
import { createSimulatedRuntime } from './instances/simulated-runtime.ts';
import type { LocalOptions } from './options.ts';
import { say } from './say.ts';

export type Runtime = {
  runtime: InstanceRuntime;
  label: string;
  /** The lowest port an image says it listens on; undefined when it says none. */
  portOf: (image: string) => Promise<number | undefined>;
  /** Where containers reach this machine; undefined: at its loopback, or there are no real ones. */
  bridge?: Bridge | undefined;
};

/** A registry that cannot be reached often hangs instead of refusing. */
const PULL_TIMEOUT_MS = 120_000;

/** Real containers if that works here, else simulated ones, and a line that says which and why. */
export async function chooseRuntime(
  options: LocalOptions,
  folder: string,
  names: Omit<PrivateNames, 'address'>,
): Promise<Runtime> {
  if (options.mode === 'simulated') return simulated('LOCAL_MODE=simulated');
  const engine = await findDockerEngine();
  if (!engine) {
    if (options.mode === 'docker') throw new Error('LOCAL_MODE=docker, but no Docker engine answers');
    return simulated('no Docker engine answers');
  }
  if (options.mode === 'auto' && options.sample !== undefined && !(await canRun(engine.socket, options.sample))) {
    return simulated(`the Docker engine has no image ${options.sample} and cannot pull it`);
  }
  try {
    const bridge = await findBridge(engine.socket);
    const address = bridge?.address ?? HOST_GATEWAY;
    const runtime = createDockerRuntime({ engineSocket: engine.socket, folder, names: { ...names, address } });
    return {
      bridge,
      portOf: (image) => exposedPort(engine.socket, image),
      runtime,
      label: `DOCKER: each instance runs real containers on Docker ${engine.version} (${engine.socket})`,
    };
  } catch (error) {
    if (options.mode === 'docker') throw error;
    return simulated(error instanceof Error ? error.message : String(error));
  }
}

function simulated(why: string): Runtime {
  return {
    // Whatever its image, a simulated container answers on any port.
    portOf: () => Promise.resolve(8080),
    runtime: createSimulatedRuntime({ report: say }),
    label: `SIMULATED: instances and containers are simulated, no image is really run (${why})`,
  };
}

async function canRun(socket: string, image: string): Promise<boolean> {
  const path = `/images/${image}/json`;
  if ((await callEngine(socket, { path }).catch(() => undefined))?.status === 200) return true;
  say(`pulling the sample image ${image} …`);
  const [name, tag] = splitTag(image);
  const pull = `/images/create?fromImage=${encodeURIComponent(name)}&tag=${encodeURIComponent(tag)}`;
  await callEngine(socket, { method: 'POST', path: pull, timeoutMs: PULL_TIMEOUT_MS }).catch(() => undefined);
  return (await callEngine(socket, { path }).catch(() => undefined))?.status === 200;
}

async function exposedPort(socket: string, image: string): Promise<number | undefined> {
  const { status, text } = await callEngine(socket, { path: `/images/${image}/json` });
  if (status !== 200) return undefined;
  const { Config } = JSON.parse(text) as { Config?: { ExposedPorts?: Record<string, object> | null } };
  const ports = Object.keys(Config?.ExposedPorts ?? {}).flatMap((port) => /^(\d+)\/tcp$/.exec(port)?.[1] ?? []);
  return ports.length > 0 ? Math.min(...ports.map(Number)) : undefined;
}

function splitTag(image: string): [name: string, tag: string] {
  const colon = image.indexOf(':', image.lastIndexOf('/') + 1);
  return colon === -1 ? [image, 'latest'] : [image.slice(0, colon), image.slice(colon + 1)];
}
