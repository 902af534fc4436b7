import { mkdtempSync } from 'node:fs';
import { mkdir, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { BootedInstance, InstanceRuntime } from '../cloud/runtime.ts';
import { CLOUD_LABEL, INSTANCE_LABEL } from './container-policy.ts';
import { callEngine } from './docker-engine.ts';
import { openDockerProxy, type DockerProxy } from './docker-proxy.ts';
import { Gate } from './gate.ts';
import { killLeftOver, startGuest, type GuestProcess } from './guest-process.ts';
import { installTools, listenForCommands, missingTools } from './guest-tools.ts';
import { PowerSwitch } from './power-switch.ts';
import type { PrivateNames } from './private-names.ts';

export { findDockerEngine, type DockerEngine } from './docker-engine.ts';

export type DockerRuntimeOptions = {
  /** Of the real engine, see {@link findDockerEngine}. */
  readonly engineSocket: string;
  /** A folder of its own for the instances' disks; what a killed run left in it is removed. Default: a new temporary one. */
  readonly folder?: string;
  /** Of jobs, which containers then find. */
  readonly names?: PrivateNames;
};

// The cloud waits 15 s for a halt; a container that ignores SIGTERM must not use them up.
const STOP_SECONDS = 3;

/**
 * Instances as process groups: the real user-data in an empty environment, with its own state folder, metadata service and
 * Docker socket, which leads to the real engine.
 * @throws Error when a program that the guests need is missing.
 */
export function createDockerRuntime({ engineSocket, folder, names }: DockerRuntimeOptions): InstanceRuntime {
  const missing = missingTools();
  if (missing.length > 0)
    throw new Error(`docker mode needs ${missing.join(' and ')}, which this machine does not have`);
  const disks = folder ?? mkdtempSync(join(tmpdir(), 'instances-'));
  // A Unix socket's path may have 103 bytes (macOS; Linux 107), and a clone may be in a deep folder.
  const isDeep = Buffer.byteLength(join(disks, 'i-0123456789abcdef0', 'sockets', 'docker')) > 103;
  const deepSockets = isDeep ? mkdtempSync(join(tmpdir(), 'sockets-')) : undefined;
  const machines = new Map<string, Machine>();
  let cloudId = 'local';

  return {
    async open(cloud) {
      cloudId = cloud.id;
      await mkdir(disks, { recursive: true });
      await cleanUpLeftOvers({ engineSocket, cloudId, folder: disks });
    },
    async boot(instance) {
      const machine = machines.get(instance.id) ?? {
        folder: join(disks, instance.id),
        gate: new Gate(),
        interrupted: [],
      };
      machines.set(instance.id, machine);
      await start(machine, instance, {
        engineSocket,
        cloudId,
        sockets: join(deepSockets ?? disks, instance.id, 'sockets'),
        names,
      });
    },
    async halt(id, how) {
      const machine = machines.get(id);
      if (machine === undefined) return;
      await machine.end?.();
      if (how === 'stop' || how === 'reboot') {
        machine.interrupted = await stopContainers(engineSocket, id);
        return;
      }
      machines.delete(id);
      if (how === 'terminate') await stopContainers(engineSocket, id);
      await removeContainers(engineSocket, `${INSTANCE_LABEL}=${id}`);
      await rm(machine.folder, { recursive: true, force: true });
    },
    async freeze(id) {
      const machine = machines.get(id);
      machine?.gate.freeze();
      machine?.process?.freeze();
      for (const container of await list(engineSocket, id, 'running')) await post(engineSocket, container, 'pause');
    },
    async thaw(id) {
      const machine = machines.get(id);
      for (const container of await list(engineSocket, id, 'paused')) await post(engineSocket, container, 'unpause');
      machine?.process?.thaw();
      machine?.gate.thaw();
    },
    async disturb(id, disturbance) {
      const machine = machines.get(id);
      if (disturbance === 'kill-agent') machine?.process?.crash();
      else if (disturbance === 'break-docker' || disturbance === 'mend-docker')
        machine?.proxy?.setBroken(disturbance === 'break-docker');
      else if (disturbance === 'exhaust-memory' || disturbance === 'fail-program')
        throw new Error(
          'docker mode: let the container use more than its memory limit, or let its program end, instead',
        );
      else throw new Error(`docker mode cannot do ${disturbance}: the agent is a program of its own`);
      return Promise.resolve();
    },
    async close() {
      for (const id of [...machines.keys()]) await this.halt(id, 'kill');
      if (deepSockets !== undefined) await rm(deepSockets, { recursive: true, force: true });
      if (folder === undefined) await rm(disks, { recursive: true, force: true });
    },
  };
}

/** Containers (by the cloud's label) and processes that a killed run left behind, and their disks. */
export async function cleanUpLeftOvers(left: { engineSocket: string; cloudId: string; folder: string }): Promise<void> {
  for (const name of await readdir(left.folder).catch(() => [])) {
    // The folder may hold other things than disks.
    if (!/^i-[0-9a-f]+$/.test(name)) continue;
    await killLeftOver(join(left.folder, name));
    await rm(join(left.folder, name), { recursive: true, force: true });
  }
  await removeContainers(left.engineSocket, `${CLOUD_LABEL}=${left.cloudId}`);
}

type Machine = {
  readonly folder: string;
  readonly gate: Gate;
  /** Containers that ran when the machine went down. */
  interrupted: string[];
  process?: GuestProcess | undefined;
  proxy?: DockerProxy;
  end?: () => Promise<void>;
};

type Place = { engineSocket: string; cloudId: string; sockets: string; names: PrivateNames | undefined };

async function start(
  machine: Machine,
  instance: BootedInstance,
  { engineSocket, cloudId, sockets, names }: Place,
): Promise<void> {
  const { id, privateIp: address, guest, metadataEndpoint, userData } = instance;
  const { folder, gate } = machine;
  await mkdir(join(folder, 'home'), { recursive: true, mode: 0o700 });
  await rm(sockets, { recursive: true, force: true });
  await mkdir(sockets, { recursive: true, mode: 0o700 });
  const [dockerSocket, powerSocket] = [join(sockets, 'docker'), join(sockets, 'power')];

  const power = new PowerSwitch((how) => void gate.pass().then(() => guest.shutdown(how)));
  const closeCommands = await listenForCommands(powerSocket, (words) => {
    guest.console(`local cloud: ${words.join(' ')}\n`);
    power.command(words);
  });
  const proxy = await openDockerProxy({
    socket: dockerSocket,
    engineSocket,
    owner: { cloudId, instanceId: id, address },
    gate,
    names,
  });
  machine.proxy = proxy;
  machine.end = async () => {
    delete machine.end;
    power.cancel();
    await machine.process?.kill();
    machine.process = undefined;
    gate.thaw();
    await Promise.all([closeCommands(), proxy.close()]);
    await rm(sockets, { recursive: true, force: true });
  };

  // As the engine does when its machine comes up again.
  for (const container of machine.interrupted.splice(0)) {
    if (await restartsWithEngine(engineSocket, container)) await post(engineSocket, container, 'start');
  }
  await installTools(join(folder, 'bin'), powerSocket);
  machine.process = await startGuest(userData, {
    folder,
    console: (text) => guest.console(text),
    metadataEndpoint,
    dockerSocket,
  });
}

async function list(engineSocket: string, id: string, status: string): Promise<string[]> {
  return listContainers(engineSocket, { label: [`${INSTANCE_LABEL}=${id}`], status: [status] });
}

/** @returns the containers that were running */
async function stopContainers(engineSocket: string, id: string): Promise<string[]> {
  for (const container of await list(engineSocket, id, 'paused')) await post(engineSocket, container, 'unpause');
  const running = await list(engineSocket, id, 'running');
  await Promise.all(running.map((container) => post(engineSocket, container, `stop?t=${STOP_SECONDS}`)));
  return running;
}

async function removeContainers(engineSocket: string, label: string): Promise<void> {
  const containers = await listContainers(engineSocket, { label: [label] });
  await Promise.all(
    containers.map((container) =>
      callEngine(engineSocket, { method: 'DELETE', path: `/containers/${container}?force=1&v=1` }),
    ),
  );
}

async function restartsWithEngine(engineSocket: string, container: string): Promise<boolean> {
  const { text } = await callEngine(engineSocket, { path: `/containers/${container}/json` });
  return /"RestartPolicy":\{"Name":"(always|unless-stopped)"/.test(text);
}

async function post(engineSocket: string, container: string, action: string): Promise<void> {
  await callEngine(engineSocket, { method: 'POST', path: `/containers/${container}/${action}` });
}

async function listContainers(engineSocket: string, filters: Record<string, string[]>): Promise<string[]> {
  const query = new URLSearchParams({ all: '1', filters: JSON.stringify(filters) });
  const { status, text } = await callEngine(engineSocket, { path: `/containers/json?${query.toString()}` });
  if (status !== 200) throw new Error(`the Docker engine answers ${status} to a list of containers: ${text}`);
  return (JSON.parse(text) as { Id: string }[]).map(({ Id }) => Id);
}
