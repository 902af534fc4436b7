import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { commandLine } from './processes.ts';

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
  if (other > 0 && other !== process.pid && (await commandLine(other)).includes('local/main.ts')) {
    throw new Error(`${directory} is in use by process ${other}; stop that run, or set LOCAL_DIR and other ports`);
  }
  await writeFile(file, String(process.pid));
  return () => rm(file, { force: true });
}
