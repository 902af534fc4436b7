import { execFile, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';

/** Nothing when it has ended by now. @param pid negative: of a group */
export function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch {
    // It ended in this moment.
  }
}

/** Ends a child of ours, and kills it when it takes too long. @param pid its own, or negative its group's */
export async function endChild(
  child: ChildProcess,
  pid: number,
  { name, limitMs, onLimit }: { name: NodeJS.Signals; limitMs: number; onLimit?: () => void },
): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const ended = once(child, 'exit');
  signal(pid, name);
  const killer = setTimeout(() => {
    onLimit?.();
    signal(pid, 'SIGKILL');
  }, limitMs);
  await ended;
  clearTimeout(killer);
}

/** Ends what a killed run left. @param isOurs of a command line: the number alone may belong to another program by now */
export async function endLeftOver(
  pid: number,
  isOurs: (command: string) => boolean,
  { name, limitMs }: { name: NodeJS.Signals; limitMs: number },
): Promise<void> {
  const isThere = async (): Promise<boolean> => isOurs(await commandLine(Math.abs(pid)));
  if (!(await isThere())) return;
  signal(pid, name);
  const deadline = performance.now() + limitMs;
  while (await isThere()) {
    if (performance.now() > deadline) signal(pid, 'SIGKILL');
    await sleep(50);
  }
}

/** Of what runs under this number; '' for nothing. */
export async function commandLine(pid: number): Promise<string> {
  return await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(async () => {
    const ps = promisify(execFile)('ps', ['-ww', '-o', 'command=', '-p', String(pid)]);
    return await ps.then(({ stdout }) => stdout).catch(() => '');
  });
}
