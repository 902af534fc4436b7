import { spawnSync } from 'node:child_process';
import { cpSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { listSources } from '../source-tree.ts';
import { instrument, type Numbered } from './instrument.ts';

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

  /** @returns the survivors */
  tryAll(file: string, mutants: readonly Numbered[]): readonly Numbered[] {
    const [properties, others] = [
      this.specsOf(file).filter(isProperty),
      this.specsOf(file).filter((s) => !isProperty(s)),
    ];
    // Properties take longer: only what the others leave.
    return [others, properties]
      .filter((specs) => specs.length > 0)
      .reduce((left, specs) => this.survivorsOf(left, specs), mutants);
  }

  private specsOf(file: string): string[] {
    const name = file.replace(/\.ts$/, '').split('/').slice(-2).join('/');
    const last = name.split('/').at(-1) ?? '';
    const own = this.specs.filter((spec) => {
      if (!spec.startsWith('src/')) return this.pattern?.test(spec) ?? false;
      if (spec.startsWith(file.replace(/ts$/, ''))) return true;
      const text = readFileSync(join(this.tree, spec), 'utf8');
      const isPlanner = file.includes('/plan/') && spec.startsWith(file.slice(0, file.lastIndexOf('/')));
      return isPlanner || text.includes(`'./${last}.js'`) || text.includes(`/${name}.js'`);
    });
    return own.toSorted(
      (a, b) => Number(b.startsWith(file.replace(/ts$/, ''))) - Number(a.startsWith(file.replace(/ts$/, ''))),
    );
  }

  private survivorsOf(mutants: readonly Numbered[], specs: readonly string[]): Numbered[] {
    const verdicts = join(this.tree, 'verdicts');
    const known = new Map<number, string>();
    for (let left = mutants; left.length > 0; left = mutants.filter(({ id }) => !known.has(id))) {
      writeFileSync(verdicts, '');
      const ids = left.map(({ id }) => id).join();
      const run = spawnSync(
        process.execPath,
        [
          '--no-warnings',
          '--max-old-space-size=1000',
          'scripts/mutants/in-process/runner.js',
          specs.join(),
          ids,
          verdicts,
        ],
        {
          cwd: this.tree,
          encoding: 'utf8',
          timeout: 1_800_000,
          env: { ...process.env, TEST_DATABASE_URL: this.databaseUrl },
        },
      );
      const lines = readFileSync(verdicts, 'utf8').trim().split('\n').filter(Boolean);
      if (lines.length === 0) throw new Error(`${specs.join()}: ${run.stdout}${run.stderr}`);
      for (const line of lines) known.set(Number(line.split(' ')[1]), line.split(' ')[0] ?? '');
    }
    return mutants.filter(({ id }) => known.get(id) === 'SURVIVED');
  }
}

function isProperty(spec: string): boolean {
  return spec.includes('.property.');
}
