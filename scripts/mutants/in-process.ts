import { spawnSync } from 'node:child_process';
import { cpSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { listSources } from '../source-tree.ts';
import { instrument, type Numbered } from './instrument.ts';
import { isAbout } from './reach.ts';

type Report = (what: string, noticed?: Numbered) => void;

/**
 * Tries every mutant of some files in one process a file, with the unit tests that stand beside the file or import it, and
 * those of integration whose path fits `pattern`. Seconds where Jest would take minutes; but a mutant of what runs while a
 * module is loaded is asleep then, and counts as a survivor.
 */
export class InProcess {
  private readonly tree: string;
  private readonly databaseUrl: string;
  private readonly specs: readonly string[];
  private readonly pattern: RegExp | undefined;

  constructor(tree: string, databaseUrl: string, mutants: readonly Numbered[], pattern: string | undefined) {
    this.tree = tree;
    this.databaseUrl = databaseUrl;
    this.specs = listSources('src/**.spec.ts', 'test/integration/**.spec.ts');
    this.pattern = pattern === undefined ? undefined : new RegExp(pattern);
    instrument(tree, mutants);
    cpSync(join(import.meta.dirname, 'in-process/mutant.ts'), join(tree, 'src/mutant.ts'));
    const path = join(tree, 'src/database/database.ts');
    const text = readFileSync(path, 'utf8').replace('connection.query(config)', 'connection.query(wakeSql(config))');
    writeFileSync(path, `import { wakeSql } from '../mutant.js';\n${text}`);
  }

  /** @returns the survivors. @param report hears of each that a test noticed, and of files whose tests cannot be run here */
  tryAll(file: string, mutants: readonly Numbered[], report: Report): readonly Numbered[] {
    const { properties = [], others = [] } = Object.groupBy(this.specsOf(file), (spec) =>
      spec.includes('.property.') ? 'properties' : 'others',
    );
    // Properties take longer: only what the others leave.
    return [others, properties]
      .filter((specs) => specs.length > 0)
      .reduce((left, specs) => this.survivorsOf(left, specs, report), mutants);
  }

  private specsOf(file: string): string[] {
    const own = file.replace(/ts$/, '');
    return this.specs
      .filter((spec) => {
        if (!spec.startsWith('src/')) return this.pattern?.test(spec) ?? false;
        // Those of a planner's parts play whole histories.
        const isOfPlanner = file.includes('/plan/') && dirname(spec) === dirname(file);
        return isOfPlanner || isAbout(this.tree, file, spec);
      })
      .toSorted((a, b) => Number(b.startsWith(own)) - Number(a.startsWith(own)));
  }

  private survivorsOf(mutants: readonly Numbered[], specs: readonly string[], report: Report): readonly Numbered[] {
    const verdicts = join(this.tree, 'verdicts');
    const survivors = new Set(mutants);
    for (let left = mutants; left.length > 0;) {
      writeFileSync(verdicts, '');
      const ids = left.map(({ id }) => id).join();
      const run = spawnSync(process.execPath, [...NODE, RUNNER, specs.join(), ids, verdicts], {
        cwd: this.tree,
        encoding: 'utf8',
        timeout: 1_800_000,
        env: { ...process.env, TEST_DATABASE_URL: this.databaseUrl },
      });
      // The last line about a mutant counts.
      const lines = readFileSync(verdicts, 'utf8').trim().split('\n').filter(Boolean);
      const known = new Map(lines.map((line) => [Number.parseInt(line), line.slice(line.indexOf(' ') + 1)]));
      if (known.size === 0) {
        report(`${specs.join(' ')} cannot be run in one process: ${run.stdout}${run.stderr}`);
        return mutants;
      }
      for (const mutant of left) {
        const verdict = known.get(mutant.id);
        if (verdict === undefined || verdict === SURVIVED) continue;
        survivors.delete(mutant);
        report(verdict, mutant);
      }
      left = left.filter(({ id }) => !known.has(id));
    }
    return [...survivors];
  }
}

const RUNNER = 'scripts/mutants/in-process/runner.js';
const NODE = ['--no-warnings', '--max-old-space-size=1000'];
/** As the runner writes it. */
const SURVIVED = 'survived';
