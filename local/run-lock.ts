import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

/**
 * Locks the directory: two runs would end each other's Postgres.
 * @returns a function that unlocks it
 * @throws Error naming the other run
 */
export async function lockDirectory(directory: string): Promise<() => Promise<void>> {
  // Passable, not readable: Postgres runs as another user below it when we are root. Secrets in it have modes of their own.
  await mkdir(directory, { recursive: true, mode: 0o711 });
  const file = join(directory, 'pid');
  const other = Number(await readFile(file, 'utf8').catch(() => ''));
  if (other > 0 && other !== process.pid && (await isNode(other))) {
    throw new Error(`${directory} is in use by process ${other}; stop that run, or set LOCAL_DIR and other ports`);
  }
  await writeFile(file, String(process.pid));
  return () => rm(file, { force: true });
}

/** The number alone may belong to another program by now. */
async function isNode(pid: number): Promise<boolean> {
  try {
    process.kill(pid, 0);
  } catch {
    return false;
  }
  const command = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => 'local/main.ts');
  return command.includes('local/main.ts');
}
