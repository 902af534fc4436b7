import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { commandLine, signal } from '../processes.ts';

export type GuestProcess = {
  freeze(): void;
  thaw(): void;
  /** SIGKILL to all of the group; an installed agent is started again. */
  crash(): void;
  /** SIGKILL to all of the group. Resolves when its first process is gone. */
  kill(): Promise<void>;
};

export type GuestOptions = {
  /** Working folder of the guest; the script is in it, its tools in `bin`, and all it may write. */
  readonly folder: string;
  readonly metadataEndpoint: string;
  readonly dockerSocket: string;
  readonly console: (text: string) => void;
};

// systemd's RestartSec in the unit that a real instance has.
const RESTART_MS = 2_000;
const SCRIPT = 'user-data';
const PID_FILE = 'pid';

/**
 * Runs user-data the way cloud-init does, by its `#!` line, in a process group of its own. An installed scheduler agent is
 * started again when it ends, as its systemd unit would.
 */
export async function startGuest(userData: string, options: GuestOptions): Promise<GuestProcess | undefined> {
  const interpreter = /^#! *(\S+)/.exec(userData)?.[1];
  if (interpreter === undefined) {
    options.console('local cloud: user-data without #! is not run\n');
    return undefined;
  }
  const file = join(options.folder, SCRIPT);
  await writeFile(file, userData, { mode: 0o700 });
  let isOver = false;
  let timer: NodeJS.Timeout | undefined;
  let child = await run(interpreter, [file], options);
  const keepUp = (): void => {
    child.once('exit', (code, killedBy) => {
      if (isOver) return;
      signalGroup(child, 'SIGKILL');
      options.console(`local cloud: the process of this instance ended, ${killedBy ?? `code ${code ?? '?'}`}\n`);
      const agent = join(options.folder, 'state', 'agent.sh');
      if (!existsSync(agent)) return;
      timer = setTimeout(() => {
        run('sh', [agent], options).then(
          (next) => {
            child = next;
            if (isOver) signalGroup(child, 'SIGKILL');
            else keepUp();
          },
          (error: unknown) => options.console(`local cloud: ${String(error)}\n`),
        );
      }, RESTART_MS);
    });
  };
  keepUp();
  return {
    freeze: () => signalGroup(child, 'SIGSTOP'),
    thaw: () => signalGroup(child, 'SIGCONT'),
    crash: () => signalGroup(child, 'SIGKILL'),
    async kill() {
      isOver = true;
      clearTimeout(timer);
      const gone = child.exitCode === null && child.signalCode === null ? once(child, 'exit') : undefined;
      signalGroup(child, 'SIGKILL');
      await gone;
    },
  };
}

/** Ends what a killed run left in this folder. Nothing when the number now belongs to another process. */
export async function killLeftOver(folder: string): Promise<void> {
  const pid = Number(await readFile(join(folder, PID_FILE), 'utf8').catch(() => ''));
  if (pid > 1 && (await commandLine(pid)).includes(folder)) signal(-pid, 'SIGKILL');
}

async function run(interpreter: string, args: string[], options: GuestOptions): Promise<ChildProcess> {
  const { folder, metadataEndpoint, dockerSocket, console } = options;
  const env = {
    PATH: join(folder, 'bin'),
    HOME: join(folder, 'home'),
    TMPDIR: join(folder, 'home'),
    AWS_EC2_METADATA_SERVICE_ENDPOINT: metadataEndpoint,
    SCHEDULER_AGENT_DIR: join(folder, 'state'),
    DOCKER_SOCKET: dockerSocket,
  };
  const child = spawn(interpreter, args, { cwd: folder, env, detached: true, stdio: ['ignore', 'pipe', 'pipe'] });
  child.stdout.setEncoding('utf8').on('data', console);
  child.stderr.setEncoding('utf8').on('data', console);
  await once(child, 'spawn');
  await writeFile(join(folder, PID_FILE), String(child.pid));
  return child;
}

function signalGroup({ pid }: ChildProcess, name: NodeJS.Signals): void {
  if (pid !== undefined) signal(-pid, name);
}
