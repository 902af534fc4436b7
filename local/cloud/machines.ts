import { gunzipSync } from 'node:zlib';
import { STATE_REASONS, type CloudInstance, type InstanceState, type StateReason } from './instance.ts';
import type { BootedInstance, Disturbance, HaltReason, InstanceRuntime } from './runtime.ts';

/** Moves instances through their states; every effect on a guest goes through here, one at a time per instance. */
export type Machines = {
  /**
   * `pending`, then `running` after the boot delay, then the runtime boots. With `endsWith` it never runs: `terminated`
   * right after `pending`, as when EC2 can neither open its disk nor find it a host.
   */
  start(instance: CloudInstance, endsWith?: StateReason): void;
  /** Does nothing when it is under way already. */
  terminate(instance: CloudInstance, reason: StateReason, how?: 'terminate' | 'kill'): void;
  stop(instance: CloudInstance, reason: StateReason): void;
  reboot(instance: CloudInstance): void;
  freeze(instance: CloudInstance, isFrozen: boolean): Promise<void>;
  disturb(instance: CloudInstance, disturbance: Disturbance): Promise<void>;
  terminateAt(instance: CloudInstance, at: Date, reason: StateReason): void;
  console(id: string): string;
  /** Halts every guest. States are left as they are: the cloud is going away, not the instances. */
  close(): Promise<void>;
};

export type MachinesOptions = {
  readonly runtime: InstanceRuntime;
  readonly bootDelayMs: () => number;
  readonly openMetadata: (instance: CloudInstance) => Promise<string>;
  readonly closeMetadata: (instance: CloudInstance) => void;
  /** The state has changed: free what it held, write it down. */
  readonly onState: (instance: CloudInstance) => void;
};

export function createMachines(options: MachinesOptions): Machines {
  const { runtime } = options;
  const timers = new Map<string, NodeJS.Timeout[]>();
  const boots = new Map<string, AbortController>();
  // Booted at least once and not removed since: a stopped one runs nothing but still has a disk.
  const guests = new Set<string>();
  const work = new Map<string, Promise<void>>();
  const consoles = new Map<string, string>();
  let isClosing = false;

  const write = (id: string, text: string): void => {
    consoles.set(id, ((consoles.get(id) ?? '') + text).slice(-CONSOLE_KEPT));
  };
  const enter = (instance: CloudInstance, state: InstanceState, reason?: StateReason): void => {
    const at = new Date().toISOString();
    instance.state = state;
    instance.stateReason = reason;
    if (state === 'running') instance.runningAt = at;
    if (state === 'terminated') instance.terminatedAt = at;
    instance.history.push({ state, at, ...(reason && { reason: reason.code }) });
    options.onState(instance);
  };
  const after = (instance: CloudInstance, delayMs: number, act: () => void): void => {
    const timer = setTimeout(act, delayMs);
    timers.set(instance.id, [...(timers.get(instance.id) ?? []), timer]);
  };
  const clearTimers = (id: string): void => {
    timers.get(id)?.forEach((timer) => clearTimeout(timer));
    timers.delete(id);
  };
  const enqueue = (id: string, step: () => Promise<void>): void => {
    const next = (work.get(id) ?? Promise.resolve())
      .then(step)
      .catch((error: unknown) => write(id, `[local cloud] ${describe(error)}\n`));
    work.set(id, next);
    void next.then(() => {
      if (work.get(id) === next) work.delete(id);
    });
  };

  const boot = async (instance: CloudInstance): Promise<void> => {
    if (instance.state !== 'running' || isClosing) return;
    const ended = new AbortController();
    boots.set(instance.id, ended);
    const booted = describeBoot(instance, await options.openMetadata(instance), ended.signal);
    instance.bootCount += 1;
    guests.add(instance.id);
    try {
      await untilAborted(withTimeout(runtime.boot(booted), BOOT_TIMEOUT_MS, 'boot'), ended.signal);
    } catch (error) {
      write(instance.id, `[local cloud] the guest could not be started: ${describe(error)}\n`);
      terminate(instance, STATE_REASONS.hostFailed, 'kill');
    }
  };
  const describeBoot = (instance: CloudInstance, metadataEndpoint: string, signal: AbortSignal): BootedInstance => ({
    id: instance.id,
    privateIp: instance.privateIp,
    publicIp: instance.publicIp,
    imageId: instance.spec.imageId,
    instanceType: instance.spec.instanceType,
    availabilityZone: instance.spec.availabilityZone,
    userData: readUserData(instance.userData),
    isFirstBoot: instance.bootCount === 0,
    metadataEndpoint,
    signal,
    guest: {
      console: (text) => {
        if (!signal.aborted) write(instance.id, text);
      },
      shutdown: (how) => {
        if (signal.aborted || instance.state !== 'running') return;
        if (how === 'reboot') reboot(instance);
        else if (instance.spec.shutdownBehavior === 'terminate' || instance.spec.market === 'spot')
          terminate(instance, STATE_REASONS.byGuest);
        else stop(instance, STATE_REASONS.byGuest);
      },
    },
  });
  // At once and not in the queue: a boot that hangs must be aborted, or the halt behind it would never run.
  const abortBoot = (id: string): void => boots.get(id)?.abort();
  const halt = async (instance: CloudInstance, how: HaltReason): Promise<void> => {
    // Of two reboots in a row the second ends the boot that the first one started.
    abortBoot(instance.id);
    boots.delete(instance.id);
    if (guests.has(instance.id)) {
      if (how === 'terminate' || how === 'kill') guests.delete(instance.id);
      await withTimeout(runtime.halt(instance.id, how), HALT_TIMEOUT_MS, `halt (${how})`).catch((error: unknown) =>
        write(instance.id, `[local cloud] ${describe(error)}\n`),
      );
    }
    options.closeMetadata(instance);
  };

  const terminate: Machines['terminate'] = (instance, reason, how = 'terminate') => {
    if (isClosing || instance.state === 'shutting-down' || instance.state === 'terminated') return;
    clearTimers(instance.id);
    instance.isFrozen = false;
    enter(instance, 'shutting-down', reason);
    abortBoot(instance.id);
    enqueue(instance.id, async () => {
      const [halted] = await Promise.allSettled([halt(instance, how), pause(SHUTDOWN_MS)]);
      if (halted.status === 'rejected') write(instance.id, `[local cloud] ${describe(halted.reason)}\n`);
      if (!isClosing) enter(instance, 'terminated', reason);
    });
  };
  const stop: Machines['stop'] = (instance, reason) => {
    if (isClosing || instance.state !== 'running') return;
    clearTimers(instance.id);
    instance.isFrozen = false;
    enter(instance, 'stopping', reason);
    abortBoot(instance.id);
    enqueue(instance.id, async () => {
      await halt(instance, 'stop');
      if (instance.state === 'stopping') enter(instance, 'stopped', reason);
    });
  };
  const reboot: Machines['reboot'] = (instance) => {
    if (isClosing || instance.state !== 'running') return;
    instance.isFrozen = false;
    abortBoot(instance.id);
    enqueue(instance.id, async () => {
      if (instance.state !== 'running') return;
      await halt(instance, 'reboot');
      await boot(instance);
    });
  };

  return {
    start: (instance, endsWith) => {
      instance.pendingAt = new Date().toISOString();
      enter(instance, 'pending');
      if (endsWith !== undefined) {
        after(instance, END_AT_LAUNCH_MS, () => {
          if (instance.state === 'pending') enter(instance, 'terminated', endsWith);
        });
        return;
      }
      after(instance, options.bootDelayMs(), () => {
        if (instance.state !== 'pending') return;
        enter(instance, 'running');
        enqueue(instance.id, () => boot(instance));
      });
    },
    terminate,
    stop,
    reboot,
    freeze: async (instance, isFrozen) => {
      if (instance.state !== 'running') throw new Error(`${instance.id} is ${instance.state}, not running`);
      if (runtime.freeze === undefined || runtime.thaw === undefined)
        throw new Error('this runtime cannot freeze instances');
      instance.isFrozen = isFrozen;
      await (isFrozen ? runtime.freeze(instance.id) : runtime.thaw(instance.id));
    },
    disturb: async (instance, disturbance) => {
      if (instance.state !== 'running') throw new Error(`${instance.id} is ${instance.state}, not running`);
      if (runtime.disturb === undefined) throw new Error('this runtime cannot disturb instances');
      await runtime.disturb(instance.id, disturbance);
    },
    terminateAt: (instance, at, reason) =>
      after(instance, Math.max(0, at.getTime() - Date.now()), () => terminate(instance, reason)),
    console: (id) => consoles.get(id) ?? '',
    close: async () => {
      isClosing = true;
      for (const id of [...timers.keys()]) clearTimers(id);
      [...boots.keys()].forEach(abortBoot);
      await Promise.all(work.values());
      const halts = [...guests].map((id) => withTimeout(runtime.halt(id, 'terminate'), HALT_TIMEOUT_MS, 'halt'));
      await Promise.allSettled(halts);
    },
  };
}

const LONGEST_UNPACKED = 1_048_576;
const CONSOLE_KEPT = 64 * 1024;
/** Shorter than on EC2, long enough that callers meet `shutting-down`. */
const SHUTDOWN_MS = 100;
/** Long enough that the answer to RunInstances says `pending`, as EC2's does. */
const END_AT_LAUNCH_MS = 20;
const HALT_TIMEOUT_MS = 15_000;
/** A guest that does not even start; docker mode starts a process and a socket, simulated mode nothing. */
const BOOT_TIMEOUT_MS = 60_000;

async function withTimeout<T>(promise: Promise<T>, limitMs: number, what: string): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const timeout = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what} took longer than ${limitMs} ms`)), limitMs);
  });
  try {
    return await Promise.race([promise, timeout]);
  } finally {
    clearTimeout(timer);
  }
}

async function untilAborted(promise: Promise<void>, signal: AbortSignal): Promise<void> {
  if (signal.aborted) return;
  const aborted = Promise.withResolvers<undefined>();
  const onAbort = (): void => aborted.resolve(undefined);
  signal.addEventListener('abort', onAbort, { once: true });
  try {
    await Promise.race([promise, aborted.promise]);
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
}

async function pause(delayMs: number): Promise<void> {
  await new Promise((resolve) => setTimeout(resolve, delayMs));
}

/** Unpacks what is compressed, as cloud-init does. */
function readUserData(base64: string): string {
  const bytes = Buffer.from(base64, 'base64');
  const isPacked = bytes[0] === 0x1f && bytes[1] === 0x8b;
  try {
    return (isPacked ? gunzipSync(bytes, { maxOutputLength: LONGEST_UNPACKED }) : bytes).toString();
  } catch {
    return bytes.toString();
  }
}

function describe(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
