import type { BootedInstance, Disturbance, Guest, InstanceRuntime } from '../cloud/runtime.ts';
import { Gate } from './gate.ts';
import { PowerSwitch } from './power-switch.ts';
import { newDisk, type AgentDisk, type AgentWorld } from './agent-world.ts';
import { runSimulatedAgent } from './simulated-agent.ts';
import { SimulatedEngine } from './simulated-engine.ts';
import { SimulatedRegistry } from './simulated-images.ts';
import type { ContainerEvent } from './simulated-container.ts';
import { Uplink } from './uplink.ts';

export type SimulatedRuntimeOptions = {
  /** Where the engines pull from: tags can be moved in it. */
  registry?: SimulatedRegistry;
  /** What a person should know, like a port that could not be bound; one line each. */
  report?: (line: string) => void;
  /** Called for each order before its agent handles it: a test may delay it. */
  beforeOrder?: (instanceId: string) => Promise<void>;
  /** What containers do, wherever they are: for tests that check what ran. */
  onContainer?: (instanceId: string, event: ContainerEvent) => void;
};

/** Instances without a machine: an agent in this process and a simulated Docker Engine for each. */
export function createSimulatedRuntime({
  registry = new SimulatedRegistry(),
  report = () => undefined,
  beforeOrder = () => Promise.resolve(),
  onContainer = () => undefined,
}: SimulatedRuntimeOptions = {}): InstanceRuntime {
  const machines = new Map<string, Machine>();
  return {
    async boot(instance) {
      const machine = machines.get(instance.id) ?? newMachine(instance, { registry, report, onContainer });
      machines.set(instance.id, machine);
      await start(machine, instance, () => beforeOrder(instance.id));
    },
    async halt(id, how) {
      const machine = machines.get(id);
      if (machine === undefined) return;
      if (how === 'terminate' || how === 'kill') machines.delete(id);
      machine.power?.cancel();
      machine.ending?.abort();
      clearTimeout(machine.restart);
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
    async disturb(id, disturbance) {
      const machine = machines.get(id);
      if (machine !== undefined) await DISTURB[disturbance](machine);
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
  readonly uplink: Uplink;
  readonly engine: SimulatedEngine;
  guest: Guest;
  power?: PowerSwitch;
  ending?: AbortController;
  /** Starts the agent of this boot, and again after it was killed. */
  startAgent?: () => void;
  restart?: NodeJS.Timeout;
};

// systemd's RestartSec in the unit that a real instance has.
const RESTART_MS = 2_000;
/** A few in a row, so that what follows the first one is hit as well. */
const DISTURBED_REQUESTS = 3;

const DISTURB: Readonly<Record<Disturbance, (machine: Machine) => void | Promise<void>>> = {
  'kill-agent': (machine) => {
    machine.ending?.abort();
    clearTimeout(machine.restart);
    machine.restart = setTimeout(() => machine.startAgent?.(), RESTART_MS);
  },
  'break-docker': ({ engine }) => engine.break(),
  'mend-docker': ({ engine }) => engine.mend(),
  'exhaust-memory': ({ engine }) => engine.exhaustMemory(),
  'fail-program': ({ engine }) => engine.failProgram(),
  'cut-off': ({ uplink }) => uplink.cut(),
  reconnect: ({ uplink }) => uplink.mend(),
  'lose-answers': ({ uplink }) => uplink.loseAnswers(DISTURBED_REQUESTS),
  'repeat-requests': ({ uplink }) => uplink.repeat(DISTURBED_REQUESTS),
};

function newMachine(
  { id, privateIp, guest }: BootedInstance,
  { registry, report, onContainer }: Required<Omit<SimulatedRuntimeOptions, 'beforeOrder'>>,
): Machine {
  const gate = new Gate();
  const note = (text: string) => {
    machine.guest.console(`${text}\n`);
    report(`${id}: ${text}`);
  };
  const onEvent = (event: ContainerEvent) => onContainer(id, event);
  const engine = new SimulatedEngine({ address: privateIp, gate, report: note, onEvent }, registry);
  const machine: Machine = { disk: newDisk(), gate, uplink: new Uplink(), engine, guest };
  return machine;
}

async function start(machine: Machine, instance: BootedInstance, beforeOrder: () => Promise<void>): Promise<void> {
  const { gate, uplink, engine, disk } = machine;
  const { guest, metadataEndpoint, userData } = instance;
  const say = (text: string) => guest.console(`${new Date().toISOString()} scheduler-agent (simulated): ${text}\n`);
  machine.guest = guest;
  const agent = readUserData(userData);
  await engine.boot();
  if (agent === undefined) {
    guest.console('simulated instance: this user-data installs no scheduler agent, nothing runs\n');
    return;
  }
  const power = new PowerSwitch((how) => void gate.pass().then(() => guest.shutdown(how)));
  machine.power = power;
  machine.startAgent = () => {
    if (instance.signal.aborted) return;
    const ending = new AbortController();
    machine.ending = ending;
    instance.signal.addEventListener('abort', () => ending.abort(), { once: true });
    void runSimulatedAgent({
      ...agent,
      metadataEndpoint,
      disk,
      gate,
      uplink,
      engine: (request) => engine.handle(request),
      portOf: (host) => engine.portOf(host),
      shutdown: (...args) => power.command(['shutdown', ...args]),
      say,
      beforeOrder,
      signal: ending.signal,
    }).catch((error: unknown) => say(`ended: ${String(error)}`));
  };
  machine.startAgent();
}

/** What the scheduler's user-data writes to the state folder of the real agent. */
export function readUserData(userData: string): Pick<AgentWorld, 'apiUrl' | 'pins' | 'launchSecret'> | undefined {
  const apiUrl = /^printf %s '(https?:\/\/[^']+)' >api-url$/m.exec(userData)?.[1];
  const launchSecret = /^printf %s '([0-9a-f]{64})' >launch-secret$/m.exec(userData)?.[1];
  const pins =
    /^printf %s '([^']*)' >pins$/m
      .exec(userData)?.[1]
      ?.split(';')
      .filter((pin) => pin !== '') ?? [];
  return apiUrl === undefined || launchSecret === undefined ? undefined : { apiUrl, pins, launchSecret };
}
