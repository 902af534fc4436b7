import { randomBytes } from 'node:crypto';
import { publish, type BoundPort } from './container-web.ts';
import { ContainerLogs, type LogOptions } from './container-logs.ts';
import type { Gate } from './gate.ts';
import type { Behaviour, SimulatedImage } from './simulated-images.ts';

/** The parts of Docker's create body that a simulated container acts on; the rest is given back by inspect. */
export type ContainerConfig = {
  readonly env: readonly string[];
  readonly ports: readonly { container: number; host: number }[];
  readonly restartPolicy: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly image: string;
};

export type Site = {
  readonly address: string;
  readonly gate: Gate;
  /** Something a person in front of the terminal should know. */
  report: (text: string) => void;
  onEvent?: (event: ContainerEvent) => void;
};

/** `started` also for every restart; `asked-to-stop` is SIGTERM. */
export type ContainerEvent = {
  readonly kind: 'started' | 'asked-to-stop' | 'ended';
  readonly containerId: string;
  readonly config: ContainerConfig;
};

/** Docker starts what its own program or the kernel ended, never what a command ended. */
type ExitCause = 'command' | 'program' | 'memory';
type Status = 'created' | 'running' | 'restarting' | 'exited';

// 128 + SIGKILL
const KILLED = 137;
/** What a program ends with that is told to fail. */
const FAILED = 3;
const NEVER = '0001-01-01T00:00:00Z';
// Docker's: the delay doubles up to a minute and starts over after ten seconds of running.
const FIRST_RESTART_MS = 100;
const LONGEST_RESTART_MS = 60_000;
const STEADY_MS = 10_000;
/** A program that prints a thousand lines a second writes ten at a time. */
const SHORTEST_TICK_MS = 10;

export class SimulatedContainer {
  readonly id = randomBytes(32).toString('hex');
  readonly #image: SimulatedImage;
  readonly #config: ContainerConfig;
  readonly #site: Site;
  readonly #logs = new ContainerLogs();
  readonly #createdAt = new Date().toISOString();
  #status: Status = 'created';
  #restartPolicy: string;
  #exitCode = 0;
  #startedAt = NEVER;
  #finishedAt = NEVER;
  #restartCount = 0;
  #restartMs = FIRST_RESTART_MS;
  #isStoppedByHand = false;
  #isOutOfMemory = false;
  #bound: BoundPort[] = [];
  #closing: Promise<unknown> = Promise.resolve();
  #timer: NodeJS.Timeout | undefined;
  #printing: NodeJS.Timeout | undefined;
  #waiting: ((exitCode: number) => void)[] = [];

  constructor(image: SimulatedImage, config: ContainerConfig, site: Site) {
    this.#image = image;
    this.#config = config;
    this.#site = site;
    this.#restartPolicy = config.restartPolicy;
  }

  /** Docker calls a container that waits for its next restart running too. */
  get isRunning(): boolean {
    return this.#status === 'running' || this.#status === 'restarting';
  }

  get restartsWithEngine(): boolean {
    return !this.#isStoppedByHand && (this.#restartPolicy === 'always' || this.#restartPolicy === 'unless-stopped');
  }

  /** The port on which a published one is reached, which is another one below 1024 without the privilege. */
  portOf(host: number): number {
    return this.#bound.find((bound) => bound.host === host)?.port ?? host;
  }

  /** @throws what listening throws: a taken port is Docker's error too. */
  async start(): Promise<void> {
    await this.#closing;
    this.#isStoppedByHand = false;
    this.#restartCount = 0;
    this.#restartMs = FIRST_RESTART_MS;
    await this.#run();
  }

  /** SIGTERM: all simulated programs end at once, with 0. */
  async stop(): Promise<void> {
    this.#isStoppedByHand = true;
    if (this.#status === 'running') {
      this.#emit('asked-to-stop');
      this.#logs.add('stdout', 'bye');
    }
    await this.#end(0, 'orderly');
  }

  /** SIGKILL, also of a whole machine. */
  async kill(): Promise<void> {
    await this.#end(KILLED, 'abrupt');
  }

  async runOutOfMemory(): Promise<void> {
    if (this.#status !== 'running') return;
    await this.#end(KILLED, 'abrupt', 'memory');
  }

  async failProgram(): Promise<void> {
    if (this.#status !== 'running') return;
    await this.#end(FAILED, 'abrupt', 'program');
  }

  wait(condition: string): Promise<number> {
    if (condition !== 'next-exit' && !this.isRunning) return Promise.resolve(this.#exitCode);
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  update(restartPolicy: string): void {
    this.#restartPolicy = restartPolicy;
  }

  logs(options: LogOptions): Buffer {
    return this.#logs.frames(options);
  }

  /** Ends when the program does, also when Docker starts it again. */
  followLogs(options: LogOptions, signal: AbortSignal): AsyncIterable<Buffer> {
    const run = this.#startedAt;
    return this.#logs.follow(options, () => this.#status === 'running' && this.#startedAt === run, signal);
  }

  inspect(): Record<string, unknown> {
    const { env, labels, image } = this.#config;
    return {
      Id: this.id,
      Name: '/job',
      Created: this.#createdAt,
      Image: this.#image.id,
      RestartCount: this.#restartCount,
      State: {
        Status: this.#status,
        Running: this.isRunning,
        Paused: false,
        Restarting: this.#status === 'restarting',
        OOMKilled: this.#isOutOfMemory,
        Dead: false,
        Pid: this.#status === 'running' ? 4242 : 0,
        ExitCode: this.#exitCode,
        Error: '',
        StartedAt: this.#startedAt,
        FinishedAt: this.#finishedAt,
      },
      HostConfig: { RestartPolicy: { Name: this.#restartPolicy, MaximumRetryCount: 0 } },
      Config: { Hostname: this.id.slice(0, 12), Image: image, Env: env, Labels: labels },
      NetworkSettings: {
        Ports: Object.fromEntries(
          this.#bound.map(({ container, port }) => [
            `${container}/tcp`,
            [{ HostIp: '0.0.0.0', HostPort: String(port) }],
          ]),
        ),
      },
    };
  }

  async #run(): Promise<void> {
    const { behaviour } = this.#image;
    for (const mapping of this.#config.ports) {
      if (behaviour.kind !== 'web') break;
      try {
        await this.#listen(mapping, behaviour.status);
      } catch (error) {
        await this.#closePorts('abrupt');
        throw error;
      }
    }
    this.#status = 'running';
    this.#exitCode = 0;
    // How it ended before is still shown, as by Docker 20.10: until it ends again.
    this.#startedAt = new Date().toISOString();
    this.#emit('started');
    this.#logs.add(
      'stdout',
      behaviour.kind === 'web' ? 'listening' : `sim: exits ${behaviour.code} after ${behaviour.afterMs} ms`,
    );
    if (behaviour.kind === 'web' && behaviour.linesPerSecond) this.#print(behaviour.linesPerSecond);
    const exit = exitOf(behaviour, this.#config.env);
    if (exit === undefined) return;
    this.#timer = setTimeout(() => {
      void this.#site.gate.pass().then(() => {
        if (this.#status !== 'running') return;
        this.#logs.add('stderr', `sim: exit ${exit.code}`);
        return this.#end(exit.code, 'orderly', exit.isOutOfMemory === true ? 'memory' : 'program');
      });
    }, exit.afterMs);
  }

  /** 1, 2, 3 … */
  #print(linesPerSecond: number): void {
    const everyMs = Math.max(SHORTEST_TICK_MS, 1000 / linesPerSecond);
    const perTick = Math.round((linesPerSecond * everyMs) / 1000);
    let number = 0;
    this.#printing = setInterval(() => {
      if (this.#site.gate.isFrozen) return;
      for (let line = 0; line < perTick; line += 1) this.#logs.add('stdout', `line ${(number += 1)}`);
    }, everyMs);
  }

  async #listen(mapping: { container: number; host: number }, status: number): Promise<void> {
    const { address, gate, report } = this.#site;
    const greeting = this.#config.env.find((entry) => entry.startsWith('GREETING='))?.slice('GREETING='.length);
    const bound = await publish(
      address,
      mapping,
      () => gate.pass(),
      ({ path, received }, isLate) => ({
        status: path === '/fail' ? 500 : status,
        body: JSON.stringify({
          hello: greeting ?? 'world',
          hostname: this.id.slice(0, 12),
          image: this.#config.image,
          startedAt: this.#startedAt,
          path,
          ...(received > 0 && { received }),
          ...(isLate && { stopping: true }),
        }),
      }),
    );
    this.#bound.push(bound);
    if (bound.port !== bound.host) {
      report(`port ${bound.host} may not be bound here: the container answers on http://${address}:${bound.port}`);
    }
  }

  async #end(exitCode: number, how: 'orderly' | 'abrupt', cause: ExitCause = 'command'): Promise<void> {
    clearTimeout(this.#timer);
    clearInterval(this.#printing);
    if (!this.isRunning) return;
    const ranMs = Date.now() - Date.parse(this.#startedAt);
    const hasExited = this.#status === 'running';
    if (hasExited) this.#sayLastWords();
    this.#status = 'exited';
    this.#logs.announceEnd();
    if (hasExited) this.#emit('ended');
    this.#closing = this.#closePorts(how);
    await this.#closing;
    if (hasExited) {
      this.#exitCode = exitCode;
      this.#isOutOfMemory = cause === 'memory';
      this.#finishedAt = new Date().toISOString();
      if (ranMs >= STEADY_MS) this.#restartMs = FIRST_RESTART_MS;
      if (cause !== 'command' && this.#restarts(exitCode)) this.#restartLater();
    }
    for (const resolve of this.#waiting.splice(0)) resolve(this.#exitCode);
  }

  /** A program that ends within a line: Docker keeps that as well. */
  #sayLastWords(): void {
    const words = valueOf('LAST_WORDS', this.#config.env);
    this.#logs.addUnended('stderr', words);
    this.#logs.addUnended('stdout', words);
  }

  #restarts(exitCode: number): boolean {
    return this.restartsWithEngine || (this.#restartPolicy === 'on-failure' && exitCode !== 0);
  }

  #restartLater(): void {
    this.#status = 'restarting';
    this.#timer = setTimeout(() => {
      if (this.#status !== 'restarting') return;
      this.#restartCount += 1;
      this.#run().catch((error: unknown) => {
        this.#status = 'exited';
        this.#logs.add('stderr', `sim: ${String(error)}`);
      });
    }, this.#restartMs);
    this.#restartMs = Math.min(this.#restartMs * 2, LONGEST_RESTART_MS);
  }

  #emit(kind: ContainerEvent['kind']): void {
    this.#site.onEvent?.({ kind, containerId: this.id, config: this.#config });
  }

  async #closePorts(how: 'orderly' | 'abrupt'): Promise<void> {
    const lingerMs = (Number.parseFloat(valueOf('LINGER', this.#config.env)) || 0) * 1000;
    await Promise.all(this.#bound.splice(0).map((bound) => bound.close(how, lingerMs)));
  }
}

/** EXIT_AFTER seconds and EXIT_CODE make any simulated program end; LAST_WORDS is what it prints last, without a newline. */
function exitOf(
  behaviour: Behaviour,
  env: readonly string[],
): { code: number; afterMs: number; isOutOfMemory?: boolean } | undefined {
  if (behaviour.kind === 'exit') return behaviour;
  const seconds = Number.parseFloat(valueOf('EXIT_AFTER', env));
  const code = Number(valueOf('EXIT_CODE', env)) & 255;
  return Number.isNaN(seconds) ? undefined : { code, afterMs: seconds * 1000 };
}

function valueOf(name: string, env: readonly string[]): string {
  return env.find((entry) => entry.startsWith(`${name}=`))?.slice(name.length + 1) ?? '';
}
