// Copied into src/ of an instrumented tree: which mutant is awake, and which ones a test reaches.
import { appendFileSync, existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/** Of the tree, from src/ and from dist/ alike. */
const folder = join(import.meta.dirname, '../.mutants');
const awake = Number(read(join(folder, 'awake')) || 0);
const isRecording = existsSync(join(folder, 'hits'));
const reached = new Set<number>();
const hits = isRecording ? join(folder, 'hits', nameOfTest()) : '';

/** The mutant with this number is awake. */
export function isMutant(id: number): boolean {
  if (isRecording) note(id);
  return id === awake;
}

export function sqlOf(id: number, original: string, mutated: string): string {
  if (isRecording) return `/*mutant ${id}*/ ${original}`;
  return id === awake ? mutated : original;
}

export function noteSql(text: string): void {
  if (!isRecording) return;
  for (const [, id] of text.matchAll(/\/\*mutant (\d+)\*\//g)) note(Number(id));
}

function note(id: number): void {
  if (reached.has(id)) return;
  reached.add(id);
  appendFileSync(hits, `${id}\n`);
}

/** A test's own process has a file that names it; of others the nearest parent has. */
function nameOfTest(): string {
  for (let pid = process.pid; pid > 1; pid = parentOf(pid)) {
    const name = read(join(folder, `test-${pid}`));
    if (name) return name;
  }
  return 'nobody';
}

function parentOf(pid: number): number {
  // The name of the program, in parentheses, may hold blanks.
  const after = read(`/proc/${pid}/stat`).split(') ').at(-1) ?? '';
  return Number(after.split(' ')[1] ?? 0);
}

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8').trim();
  } catch {
    return '';
  }
}
