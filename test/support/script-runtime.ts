import { once } from 'node:events';
import { mkdtempSync } from 'node:fs';
import { mkdir, rm } from 'node:fs/promises';
import type { Server } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { BootedInstance, InstanceRuntime } from '../../local/cloud/runtime.ts';
import { Gate } from '../../local/instances/gate.ts';
import { startGuest, type GuestProcess } from '../../local/instances/guest-process.ts';
import { installTools, listenForCommands } from '../../local/instances/guest-tools.ts';
import { PowerSwitch } from '../../local/instances/power-switch.ts';
import { SimulatedEngine } from '../../local/instances/simulated-engine.ts';
import { serveEngine } from '../../local/instances/testing/agents-under-test.ts';

type Machine = { readonly process: GuestProcess | undefined; end(): Promise<void> };

/**
 * Instances that run the real user-data, each with a simulated Docker Engine on its socket: the agent's script without an
 * engine of this machine. For what is booted once.
 * @param rewrite of the user-data, before it runs
 */
export function createScriptRuntime(rewrite: (userData: string) => string = (userData) => userData): InstanceRuntime {
  const disks = mkdtempSync(join(tmpdir(), 'scripts-'));
  const machines = new Map<string, Machine>();
  return {
    async boot(instance) {
      machines.set(
        instance.id,
        await start({ ...instance, userData: rewrite(instance.userData) }, join(disks, instance.id)),
      );
    },
    async halt(id) {
      await machines.get(id)?.end();
      machines.delete(id);
    },
    disturb(id, disturbance) {
      if (disturbance !== 'kill-agent') throw new Error(`a script runtime cannot do ${disturbance}`);
      machines.get(id)?.process?.crash();
      return Promise.resolve();
    },
    close: () => rm(disks, { recursive: true, force: true }),
  };
}

async function start(instance: BootedInstance, folder: string): Promise<Machine> {
  const { privateIp: address, guest, metadataEndpoint, userData } = instance;
  await mkdir(join(folder, 'home'), { recursive: true });
  const [dockerSocket, powerSocket] = [join(folder, 'docker'), join(folder, 'power')];
  const engine = new SimulatedEngine({ address, gate: new Gate(), report: (text) => guest.console(`${text}\n`) });
  const server = await serveEngine(engine, dockerSocket, []);
  const power = new PowerSwitch((how) => guest.shutdown(how));
  const closeCommands = await listenForCommands(powerSocket, (words) => power.command(words));
  await installTools(join(folder, 'bin'), powerSocket);
  const process = await startGuest(userData, {
    folder,
    console: (text) => guest.console(text),
    metadataEndpoint,
    dockerSocket,
  });
  return {
    process,
    async end() {
      power.cancel();
      await process?.kill();
      await engine.halt();
      await Promise.all([closeCommands(), close(server)]);
      await rm(folder, { recursive: true, force: true });
    },
  };
}

async function close(server: Server): Promise<void> {
  server.close();
  server.closeAllConnections();
  await once(server, 'close');
}
