import { randomUUID } from 'node:crypto';
import { mkdir, readdir, readFile, rename, rm, rmdir, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { ObjectFolder } from './chunk-objects.js';

/** Objects as files below a directory of this machine: for one machine, or a volume that all of them mount. */
export class DirectoryFolder implements ObjectFolder {
  constructor(private readonly root: string) {}

  async put(key: string, bytes: Uint8Array): Promise<void> {
    const path = join(this.root, key);
    await mkdir(dirname(path), { recursive: true });
    // Whole or not at all: a file that was cut off by a crash would be taken for the object.
    const unfinished = `${path}.${randomUUID()}${UNFINISHED}`;
    try {
      await writeFile(unfinished, bytes, { flush: true });
      await rename(unfinished, path);
    } catch (error) {
      await rm(unfinished, { force: true });
      throw error;
    }
  }

  async get(key: string): Promise<Uint8Array | undefined> {
    return await readFile(join(this.root, key)).catch(noneIfMissing);
  }

  async delete(keys: readonly string[]): Promise<void> {
    for (const key of keys) await rm(join(this.root, key), { force: true });
    // What is not empty stays.
    for (const folder of new Set(keys.map((key) => dirname(join(this.root, key)))))
      await rmdir(folder).catch(() => undefined);
  }

  async *list(prefix: string): AsyncGenerator<readonly string[]> {
    const names = (await readdir(join(this.root, prefix)).catch(noneIfMissing)) ?? [];
    yield names.map((name) => `${prefix}${name}`);
  }
}

const UNFINISHED = '.unfinished';

function noneIfMissing(error: unknown): undefined {
  if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined;
  throw error;
}
