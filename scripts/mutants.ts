// Changes the program at places drawn at random and says which changes no test notices: `npm run test:mutants -- --count
// 150 --seed 7`. Each mutant is tried with the tests that reach it, the quickest first, until one fails. With `--only
// 3,17 --tests 'sealer|log-'` some of the same draw are tried again with the tests whose path fits. `--of
// 'src/fleet/plan/**'` tries every mutant of some files, in one process.
//
// Not StrykerJS: half of the logic is SQL, which it does not change, and much of it runs in programs that tests start.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { startPostgres } from '../local/postgres.ts';
import { mutantsOf, type Mutant } from './mutants/draw.ts';
import { EQUIVALENT } from './mutants/equivalent/equivalent.ts';
import { InProcess } from './mutants/in-process.ts';
import { instrument, type Numbered } from './mutants/instrument.ts';
import { draw } from './mutants/random.ts';
import { readReach, writeReach, type Reach } from './mutants/reach.ts';
import { MOST_SECONDS, MutantRun, type Verdict } from './mutants/run.ts';
import { copySources, listSources } from './source-tree.ts';

const FOLDERS = ['scheduler', 'fleet', 'agent', 'logs', 'events', 'webhooks', 'http', 'auth'];

const { values } = parseArgs({
  options: {
    count: { type: 'string', default: '150' },
    seed: { type: 'string', default: '1' },
    folders: { type: 'string', default: FOLDERS.join() },
    /** Tried at once. */
    copies: { type: 'string', default: '2' },
    only: { type: 'string' },
    tests: { type: 'string' },
    /** A file that keeps which tests reach which mutants, of all that can be drawn: the next run records what is new. */
    reach: { type: 'string' },
    /** Every mutant of these files instead of a draw, in one process, see in-process.ts; with tests of integration by `--tests`. */
    of: { type: 'string' },
    /** Prints the draw and ends. */
    list: { type: 'boolean', default: false },
  },
});

const root = join(import.meta.dirname, '..');
const folders = values.folders.split(',').map((folder) => `src/${folder}/`);
const files = listSources(...folders.map((within) => `${within}**.ts`)).filter(
  (file) => !file.endsWith('.spec.ts') && !file.includes('.module.'),
);
const all = files.flatMap((file) => mutantsOf(root, file)).map((mutant, at) => ({ ...mutant, id: at + 1 }));
const drawn = draw(all, Number(values.count), Number(values.seed));
const stale = EQUIVALENT.filter(({ file }) => folders.some((within) => file.startsWith(within)))
  .filter((one) => !all.some((mutant) => isSame(mutant, one)))
  .map(({ file, original }) => `${file}: ${original}`);
if (stale.length > 0) throw new Error(`the list of equivalent changes names what is not there:\n${stale.join('\n')}`);
console.log(`${drawn.length} of ${all.length} mutants in ${files.length} files, seed ${values.seed}`);
if (values.list) {
  for (const mutant of drawn) console.log(describe(mutant));
  process.exit();
}

const folder = mkdtempSync(join(tmpdir(), 'mutants-'));
const postgres = await startPostgres({ directory: join(folder, 'postgres'), isDisposable: true });
try {
  if (values.of === undefined) await tryDraw();
  else tryFiles(listSources(...values.of.split(',')));
} finally {
  await postgres.stop();
  rmSync(folder, { recursive: true, force: true });
}

/** First what takes seconds, then what that leaves. */
async function tryDraw(): Promise<void> {
  const different = drawn.filter(isNoEquivalent);
  console.log(`${drawn.length - different.length} of them are named as equivalent`);
  const wanted = values.only?.split(',').map(Number);
  const chosen = different.filter(({ id }) => wanted?.includes(id) ?? true);
  const left = values.tests === undefined ? tryInProcess(chosen, say) : chosen;
  const verdicts = left.length > 0 ? await tryInJest(left) : new Map<Numbered, Verdict>();
  report(new Map(chosen.map((mutant) => [mutant, verdicts.get(mutant) ?? 'noticed'])));
}

async function tryInJest(mutants: readonly Numbered[]): Promise<ReadonlyMap<Numbered, Verdict>> {
  const run = prepare('drawn', mutants);
  const ids = mutants.map(({ id }) => id);
  const reach =
    values.tests === undefined
      ? await reachFrom(values.reach, run.list(''))
      : run.list(values.tests).map((path) => ({ path, seconds: 60, ids }));
  // Tests that were named are all tried.
  const bounds = { copies: Number(values.copies), mostSeconds: values.tests === undefined ? MOST_SECONDS : Infinity };
  return await run.tryAll(mutants, reach, bounds, say);
}

function tryFiles(paths: readonly string[]): void {
  const mutants = all.filter((mutant) => paths.includes(mutant.file) && isNoEquivalent(mutant));
  const survivors = Map.groupBy(
    tryInProcess(mutants, () => undefined),
    ({ file }) => file,
  );
  for (const [file, ofFile] of Map.groupBy(mutants, (mutant) => mutant.file)) {
    const left = survivors.get(file) ?? [];
    console.log(`${file}: ${ofFile.length - left.length} of ${ofFile.length} noticed`);
    for (const mutant of left) console.log(`  ${describe(mutant)}`);
  }
}

/** @returns the survivors */
function tryInProcess(
  mutants: readonly Numbered[],
  sayNoticed: (mutant: Numbered, verdict: Verdict, why: string) => void,
): readonly Numbered[] {
  const tree = join(folder, 'in-process');
  copySources(tree);
  const run = new InProcess(tree, postgres.url, mutants, values.tests);
  return [...Map.groupBy(mutants, ({ file }) => file)].flatMap(([file, ofFile]) =>
    run.tryAll(file, ofFile, (what, noticed) => {
      if (noticed) sayNoticed(noticed, 'noticed', what);
      else console.log(what);
    }),
  );
}

function say(mutant: Numbered, verdict: Verdict, why: string): void {
  console.log(`${verdict.padEnd(10)} ${describe(mutant)}${why && `\n           ${why}`}`);
}

/** A copy of the tree with these mutants in it, asleep. */
function prepare(name: string, mutants: readonly Numbered[]): MutantRun {
  const tree = join(folder, name);
  copySources(tree);
  instrument(tree, mutants);
  const run = new MutantRun(tree, postgres.url);
  run.build();
  return run;
}

/** @param specs every file of tests */
async function reachFrom(file: string | undefined, specs: readonly string[]): Promise<Reach> {
  const known = file === undefined ? [] : readReach(file, root, all);
  const unknown = specs.filter((path) => !known.some((spec) => spec.path === path));
  if (unknown.length === 0) return known;
  console.log(`${unknown.length} files of tests are run to see what they reach`);
  const reach = [...known, ...(await prepare('all', all).record(unknown))];
  if (file !== undefined) writeReach(file, root, all, reach);
  return reach;
}

function report(verdicts: ReadonlyMap<Numbered, Verdict>): void {
  const count = (verdict: Verdict): number => [...verdicts.values()].filter((one) => one === verdict).length;
  const [noticed, late, survived] = [count('noticed'), count('timed out'), count('SURVIVED')];
  const share = Math.round((100 * (noticed + late)) / verdicts.size);
  console.log(
    `\n${verdicts.size} mutants: ${noticed + late} noticed (${share} %), ${late} of them by time; ${survived} survived`,
  );
  for (const [mutant, verdict] of verdicts) if (verdict === 'SURVIVED') console.log(describe(mutant));
}

function isNoEquivalent(mutant: Mutant): boolean {
  return !EQUIVALENT.some((one) => isSame(mutant, one));
}

type Place = Pick<Mutant, 'file' | 'on' | 'original' | 'mutated'>;

function isSame(a: Place, b: Place): boolean {
  return a.file === b.file && a.on === b.on && a.original === b.original && a.mutated === b.mutated;
}

function describe({ id, file, line, original, mutated }: Numbered): string {
  const short = (text: string): string => {
    const oneLine = text.replace(/\s+/g, ' ').trim();
    return oneLine.length > 90 ? `${oneLine.slice(0, 60)} … ${oneLine.slice(-25)}` : oneLine;
  };
  return `#${id} ${file}:${line}  ${short(original) || 'nothing'}  →  ${short(mutated) || 'nothing'}`;
}
