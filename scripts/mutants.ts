// Changes the program at places drawn at random and says which changes no test notices: `npm run test:mutants -- --count
// 150 --seed 7`. Each mutant is tried with the tests that reach it, the quickest first, until one fails. With `--only
// 3,17 --tests 'sealer|log-'` some of the same draw are tried again with the tests whose path fits.
//
// Not StrykerJS: half of the logic is SQL, which it does not change, and much of it runs in programs that tests start.
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { startPostgres } from '../local/postgres.ts';
import { mutantsOf, type Mutant } from './mutants/draw.ts';
import { EQUIVALENT } from './mutants/equivalent.list.ts';
import { instrument, type Numbered } from './mutants/instrument.ts';
import { draw } from './mutants/random.ts';
import { MOST_SECONDS, MutantRun, type Reach, type Verdict } from './mutants/run.ts';
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
    /** A file that keeps which tests reach which mutants, for the next run of the same draw. */
    reach: { type: 'string' },
    /** Prints the draw and ends. */
    list: { type: 'boolean', default: false },
  },
});

const root = join(import.meta.dirname, '..');
const patterns = values.folders.split(',').map((folder) => `src/${folder}/**.ts`);
const files = listSources(...patterns).filter((file) => !file.endsWith('.spec.ts') && !file.includes('.module.'));
const all = files.flatMap((file) => mutantsOf(root, file));
const drawn = draw(all, Number(values.count), Number(values.seed)).map((mutant, at) => ({ ...mutant, id: at + 1 }));
const stale = EQUIVALENT.filter((one) => !all.some((mutant) => isSame(mutant, one))).map(
  ({ file, original }) => `${file}: ${original}`,
);
if (stale.length > 0) throw new Error(`the list of equivalent changes names what is not there:\n${stale.join('\n')}`);
const wanted = values.only?.split(',').map(Number);
console.log(`${drawn.length} of ${all.length} mutants in ${files.length} files, seed ${values.seed}`);
if (values.list) {
  for (const mutant of drawn) console.log(describe(mutant));
  process.exit();
}

const folder = mkdtempSync(join(tmpdir(), 'mutants-'));
const postgres = await startPostgres({ directory: join(folder, 'postgres'), isDisposable: true });
try {
  const tree = join(folder, 'tree');
  copySources(tree);
  instrument(tree, drawn);
  const run = new MutantRun(tree, postgres.url);
  run.build();
  const reach = values.tests === undefined ? await reachFrom(values.reach, run) : run.fitting(drawn, values.tests);
  const different = drawn.filter((mutant) => !EQUIVALENT.some((one) => isSame(mutant, one)));
  console.log(`${drawn.length - different.length} of them are named as equivalent`);
  const chosen = different.filter(({ id }) => wanted?.includes(id) ?? true);
  // Tests that were named are all tried.
  const bounds = { copies: Number(values.copies), mostSeconds: values.tests === undefined ? MOST_SECONDS : Infinity };
  const verdicts = await run.tryAll(chosen, reach, bounds, (mutant, verdict, why) => {
    console.log(`${verdict.padEnd(10)} ${describe(mutant)}${why && `\n           ${why}`}`);
  });
  report(verdicts);
} finally {
  await postgres.stop();
  rmSync(folder, { recursive: true, force: true });
}

async function reachFrom(file: string | undefined, run: MutantRun): Promise<Reach> {
  if (file !== undefined && existsSync(file)) return JSON.parse(readFileSync(file, 'utf8')) as Reach;
  const reach = await run.record();
  if (file !== undefined) writeFileSync(file, JSON.stringify(reach));
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
