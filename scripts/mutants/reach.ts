import { createHash } from 'node:crypto';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import type { Mutant } from './draw.ts';
import type { Numbered } from './instrument.ts';

/** A file of tests, how long it took with every mutant asleep, and which mutants it reaches. */
export type Spec = { readonly path: string; readonly seconds: number; readonly ids: readonly number[] };
export type Reach = readonly Spec[];

/** Whether a file of tests in the tree at `root` stands beside a source or imports it. */
export function isAbout(root: string, file: string, spec: string): boolean {
  const base = file.replace(/\.ts$/, '');
  if (spec.startsWith(`${base}.`)) return true;
  const text = readFileSync(join(root, spec), 'utf8');
  const name = base.split('/').slice(-2).join('/');
  return text.includes(`${name}.`) || (dirname(spec) === dirname(file) && text.includes(`'./${basename(base)}.js'`));
}

/** Mutants by their texts, as numbers and lines move; `ids` are places in `mutants`. */
type Kept = { readonly mutants: readonly string[]; readonly specs: readonly (Spec & { readonly hash: string })[] };

/** What a run before found, for this tree: of tests whose file is as it was then. */
export function readReach(file: string, root: string, all: readonly Numbered[]): Reach {
  if (!existsSync(file)) return [];
  const { mutants, specs } = JSON.parse(readFileSync(file, 'utf8')) as Kept;
  const idsOf = Map.groupBy(all, keyOf);
  const known = new Set(mutants);
  const unknown = Map.groupBy(
    all.filter((mutant) => !known.has(keyOf(mutant))),
    (mutant) => mutant.file,
  );
  return specs
    .filter(({ path, hash }) => existsSync(join(root, path)) && hashOf(root, path) === hash)
    .map(({ path, seconds, ids }) => {
      const keys = ids.map((id) => mutants[id] ?? '');
      const found = keys.flatMap((key) => idsOf.get(key) ?? []);
      // Of a mutant that is new, only the tests that reach others of its file are known.
      const files = new Set(found.map((mutant) => mutant.file));
      const guessed = [...files].flatMap((of) => unknown.get(of) ?? []);
      return { path, seconds, ids: [...found, ...guessed].map(({ id }) => id) };
    });
}

export function writeReach(file: string, root: string, all: readonly Numbered[], reach: Reach): void {
  const places = new Map(all.map(({ id }, at) => [id, at]));
  const specs = reach.map(({ path, seconds, ids }) => {
    const at = ids.flatMap((id) => places.get(id) ?? []);
    return { path, hash: hashOf(root, path), seconds, ids: at };
  });
  writeFileSync(file, JSON.stringify({ mutants: all.map(keyOf), specs } satisfies Kept));
}

function keyOf({ file, on, original, mutated }: Mutant): string {
  return JSON.stringify([file, on, original, mutated]);
}

function hashOf(root: string, path: string): string {
  return createHash('sha256')
    .update(readFileSync(join(root, path)))
    .digest('base64url')
    .slice(0, 16);
}
