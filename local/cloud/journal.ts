import { closeSync, fsyncSync, openSync, writeSync } from 'node:fs';
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { CallRecord } from './ledger.ts';
import type { CloudInstance, InstanceState, StateReason } from './instance.ts';
import type { LaunchRecord } from './launches.ts';
import type { CloudSnapshot } from './snapshots.ts';

/** What has to outlive the process, one JSON line each, in the order it happened. */
export type JournalEntry =
  | { readonly kind: 'cloud'; readonly id: string }
  | { readonly kind: 'instance'; readonly instance: CloudInstance }
  | {
      readonly kind: 'state';
      readonly id: string;
      readonly state: InstanceState;
      readonly at: string;
      readonly reason: StateReason | undefined;
    }
  | { readonly kind: 'launch'; readonly launch: LaunchRecord }
  | { readonly kind: 'tags'; readonly id: string; readonly tags: readonly (readonly [string, string])[] }
  | { readonly kind: 'address'; readonly allocationId: string; readonly publicIp: string | undefined }
  | { readonly kind: 'snapshot'; readonly id: string; readonly snapshot: CloudSnapshot | undefined }
  | { readonly kind: 'call'; readonly call: CallRecord };

export type Journal = {
  /** What an earlier run wrote, oldest first. */
  readonly earlier: readonly JournalEntry[];
  append(entry: JournalEntry): void;
  /** Before an answer leaves: a caller must never know more than the next run will remember. */
  readonly flush: () => void;
  close(): void;
};

export async function openJournal(stateDir: string | undefined): Promise<Journal> {
  if (stateDir === undefined)
    return { earlier: [], append: () => undefined, flush: () => undefined, close: () => undefined };
  await mkdir(stateDir, { recursive: true });
  const path = join(stateDir, 'ledger.jsonl');
  const earlier = compact(await readEntries(path));
  await writeFile(`${path}.new`, earlier.map((entry) => `${JSON.stringify(entry)}\n`).join(''), { mode: 0o600 });
  await rename(`${path}.new`, path);
  const file = openSync(path, 'a', 0o600);
  let pending: string[] = [];
  let isOpen = true;
  const flush = (): void => {
    if (pending.length === 0 || !isOpen) return;
    const text = pending.join('');
    pending = [];
    writeSync(file, text);
  };
  return {
    earlier,
    append: (entry) => {
      // One write for everything that happens in one turn of the event loop; a launch of 1,000 is 3,000 lines.
      if (pending.length === 0) setImmediate(flush);
      pending.push(`${JSON.stringify(entry)}\n`);
    },
    flush,
    close: () => {
      if (!isOpen) return;
      flush();
      fsyncSync(file);
      closeSync(file);
      isOpen = false;
    },
  };
}

// Enough to read back what happened lately; each call is about 200 bytes.
const CALLS_KEPT = 10_000;

async function readEntries(path: string): Promise<JournalEntry[]> {
  const text = await readFile(path, 'utf8').catch((error: unknown) => {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return '';
    throw error;
  });
  const lines = text.split('\n').filter((line) => line !== '');
  return lines.flatMap((line, index) => {
    try {
      return [JSON.parse(line) as JournalEntry];
    } catch {
      // A process that was killed may leave half a line at the end; anywhere else the file is damaged.
      if (index === lines.length - 1) return [];
      throw new Error(`${path}: line ${index + 1} is not JSON`);
    }
  });
}

function compact(entries: readonly JournalEntry[]): JournalEntry[] {
  const calls = entries.filter((entry) => entry.kind === 'call').slice(-CALLS_KEPT);
  const kept = new Set<JournalEntry>(calls);
  const lastTags = new Map<string, JournalEntry>();
  for (const entry of entries) if (entry.kind === 'tags') lastTags.set(entry.id, entry);
  return entries.filter((entry) => {
    if (entry.kind === 'call') return kept.has(entry);
    if (entry.kind === 'tags') return lastTags.get(entry.id) === entry && entry.tags.length > 0;
    return true;
  });
}
