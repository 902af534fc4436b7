import { cpSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import type { Mutant } from './draw.ts';

/** A mutant with its number, from 1. */
export type Numbered = Mutant & { readonly id: number };

/**
 * Writes every mutant into the copy of the tree at `root`, each asleep until its number stands in a file that `mutant.ts`
 * reads: so nothing is built again for the next one, and programs of their own that a test starts have it as well.
 */
export function instrument(root: string, mutants: readonly Numbered[]): void {
  cpSync(join(import.meta.dirname, 'mutant.ts'), join(root, 'src/mutant.ts'));
  for (const [file, ofFile] of Map.groupBy(mutants, (mutant) => mutant.file)) {
    const path = join(root, file);
    const text = readFileSync(path, 'utf8');
    const from = relative(dirname(file), 'src/mutant.js');
    const head = `import { isMutant, sqlOf } from '${from.startsWith('.') ? from : `./${from}`}';\n`;
    writeFileSync(path, head + rewrite(text, 0, text.length, inOrder(ofFile)));
  }
  noteStatements(root);
}

/** Outer ones first, so that those inside are written into their original. */
function inOrder(mutants: readonly Numbered[]): Numbered[] {
  return mutants.toSorted((a, b) => a.start - b.start || b.end - a.end || a.id - b.id);
}

function rewrite(text: string, from: number, to: number, mutants: readonly Numbered[]): string {
  const [first, ...others] = mutants;
  if (!first) return text.slice(from, to);
  const inside = others.filter(({ start, end }) => start >= first.start && end <= first.end);
  const after = others.filter((other) => !inside.includes(other));
  const original = rewrite(text, first.start, first.end, inside);
  return text.slice(from, first.start) + switchOf(first, original) + rewrite(text, first.end, to, after);
}

function switchOf({ id, kind, mutated }: Numbered, original: string): string {
  // As a template, as the original may hold other switches.
  if (kind === 'sql') return `\${sqlOf(${id}, \`${original}\`, ${JSON.stringify(mutated)})}`;
  if (kind === 'statement') return `if (isMutant(${id})) {} else { ${original} }`;
  return `(isMutant(${id}) ? (${mutated}) : (${original}))`;
}

/** SQL is put together when its module is loaded: a mutant in it is reached when the statement is run. */
function noteStatements(root: string): void {
  const path = join(root, 'src/database/database.ts');
  const text = readFileSync(path, 'utf8');
  const at = '  const config = { ...(isPrepared';
  if (text.split(at).length !== 2) throw new Error('src/database/database.ts runs statements in another way');
  writeFileSync(path, `import { noteSql } from '../mutant.js';\n${text.replace(at, `  noteSql(text);\n${at}`)}`);
}
