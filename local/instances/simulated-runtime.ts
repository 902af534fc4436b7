import type { BootedInstance, Guest, InstanceRuntime } from '../cloud/runtime.ts';
import { Gate } from './gate.ts';
import { PowerSwitch } from './power-switch.ts';
import { newDisk, runSimulatedAgent, type AgentDisk } from './simulated-agent.ts';
import { SimulatedEngine } from './simulated-engine.ts';

export type SimulatedRuntimeOptions = {
  /** What a person should know, like a port that could not be bound; one line each. */
  report?: (line: string) => void;
};

/** Instances without a machine: an agent in this process and a simulated Docker Engine for each. */
export function createSimulatedRuntime({ report = () => undefined }: SimulatedRuntimeOptions = {}): InstanceRuntime {
  const machines = new Map<string, Machine>();
  return {
    async boot(instance) {
      const machine = machines.get(instance.id) ?? newMachine(instance, report);
      machines.set(instance.id, machine);
      await start(machine, instance);
    },
    async halt(id, how) {
      const machine = machines.get(id);
      if (machine === undefined) return;
      if (how === 'terminate' || how === 'kill') machines.delete(id);
      machine.power?.cancel();
      machine.ending?.abort();
      machine.gate.thaw();
      await machine.engine.halt();
    },
    freeze(id) {
      machines.get(id)?.gate.freeze();
      return Promise.resolve();
    },
    thaw(id) {
      machines.get(id)?.gate.thaw();
      return Promise.resolve();
    },
    async close() {
      const left = [...machines.keys()];
      await Promise.all(left.map((id) => this.halt(id, 'kill')));
    },
  };
}

/** Disk and engine outlive a reboot; the rest belongs to one boot. */
type Machine = {
  readonly disk: AgentDisk;
  readonly gate: Gate;
  readonly engine: SimulatedEngine;
  guest: Guest;
  power?: PowerSwitch;
  ending?: AbortController;
};

function newMachine({ id, privateIp, guest }: BootedInstance, report: (line: string) => void): Machine {
  const gate = new Gate();
  const tell = (text: string) => {
    machine.guest.console(`${text}\n`);
    report(`${id}: ${text}`);
  };
  const engine = new SimulatedEngine({ address: privateIp, gate, report: tell });
  const machine: Machine = { disk: newDisk(), gate, engine, guest };
  return machine;
}

async function start(machine: Machine, instance: BootedInstance): Promise<void> {
  const { gate, engine, disk } = machine;
  const { guest, metadataEndpoint, userData } = instance;
  const say = (text: string) => guest.console(`${new Date().toISOString()} scheduler-agent (simulated): ${text}\n`);
  machine.guest = guest;
  const agent = readUserData(userData);
  await engine.boot();
  if (agent === undefined) {
    guest.console('simulated instance: this user-data installs no scheduler agent, nothing runs\n');
    return;
  }
  // Not the boot's own signal: it may be aborted before this ran.
  const ending = new AbortController();
  const power = new PowerSwitch((how) => void gate.pass().then(() => guest.shutdown(how)));
  machine.ending = ending;
  machine.power = power;
  if (instance.signal.aborted) return;
  instance.signal.addEventListener('abort', () => ending.abort(), { once: true });
  void runSimulatedAgent({
    ...agent,
    metadataEndpoint,
    disk,
    gate,
    engine: (request) => engine.handle(request),
    portOf: (host) => engine.portOf(host),
    shutdown: (...args) => power.command(['shutdown', ...args]),
    say,
    signal: ending.signal,
  }).catch((error: unknown) => say(`ended: ${String(error)}`));
}

/** The two values the scheduler's user-data writes to the state folder of the real agent. */
export function readUserData(userData: string): { apiUrl: string; launchSecret: string } | undefined {
  const apiUrl = /^printf %s '(https?:\/\/[^']+)' >api-url$/m.exec(userData)?.[1];
  const launchSecret = /^printf %s '([0-9a-f]{64})' >launch-secret$/m.exec(userData)?.[1];
  return apiUrl === undefined || launchSecret === undefined ? undefined : { apiUrl, launchSecret };
}
