import { execFileSync, spawn } from 'node:child_process';
import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Numbered } from './instrument.ts';

export type Verdict = 'noticed' | 'timed out' | 'SURVIVED';

/** A file of tests, and how long it took with every mutant asleep. */
type Spec = { readonly path: string; readonly seconds: number };
type Report = (mutant: Numbered, verdict: Verdict, why: string) => void;

/** Tried one after the other: what most mutants fail comes first. Seconds of tests. */
const BATCH_SECONDS = 30;
/** A mutant that survives this much of its tests counts as a survivor. */
const MOST_SECONDS = 900;
const PROJECTS = ['unit', 'integration', 'e2e'];

/** The tests on an instrumented tree. */
export class MutantRun {
  private readonly tree: string;
  private readonly databaseUrl: string;
  private readonly seconds = new Map<string, number>();

  constructor(tree: string, databaseUrl: string) {
    this.tree = tree;
    this.databaseUrl = databaseUrl;
    mkdirSync(join(tree, '.mutants'));
    const config = join(tree, 'jest.config.js');
    const text = readFileSync(config, 'utf8');
    const at = "testEnvironment: 'node',";
    writeFileSync(config, text.replace(at, `${at} setupFilesAfterEnv: ['<rootDir>/scripts/mutants/name-test.js'],`));
  }

  build(): void {
    execFileSync(process.execPath, ['scripts/build.mjs'], { cwd: this.tree, stdio: 'inherit' });
  }

  /** Runs every test once with all mutants asleep. @returns the tests that reach each mutant */
  async record(mutants: readonly Numbered[]): Promise<ReadonlyMap<Numbered, readonly Spec[]>> {
    const hits = join(this.tree, '.mutants/hits');
    mkdirSync(hits);
    const { failed } = await this.jest(this.tree, ['--maxWorkers', '3'], 3_600);
    // Such a test says nothing about a mutant: it reads the sources, for example.
    for (const path of failed) this.seconds.delete(path);
    if (failed.length > 0) console.log(`left out, as they fail with no mutant awake: ${failed.join(', ')}`);
    const reached = new Map(
      readdirSync(hits).map((name) => [
        name.replaceAll('~', '/'),
        new Set(readFileSync(join(hits, name), 'utf8').split('\n').map(Number)),
      ]),
    );
    rmSync(hits, { recursive: true });
    return this.quickestFirst(mutants, (path, { id }) => reached.get(path)?.has(id) === true);
  }

  /** Without a run before: the tests whose path fits are tried with every mutant. */
  fitting(mutants: readonly Numbered[], pattern: string): ReadonlyMap<Numbered, readonly Spec[]> {
    const listed = execFileSync(process.execPath, [...JEST, '--listTests', '--testPathPatterns', pattern], {
      cwd: this.tree,
    });
    for (const path of listed.toString().trim().split('\n')) this.seconds.set(path.slice(this.tree.length + 1), 60);
    return this.quickestFirst(mutants, () => true);
  }

  /** Tries each with its tests in one of several copies of the tree. */
  async tryAll(
    mutants: readonly Numbered[],
    reaching: ReadonlyMap<Numbered, readonly Spec[]>,
    copies: number,
    report: Report,
  ): Promise<ReadonlyMap<Numbered, Verdict>> {
    const verdicts = new Map<Numbered, Verdict>();
    const queue = [...mutants];
    const work = async (tree: string): Promise<void> => {
      for (let mutant = queue.shift(); mutant; mutant = queue.shift()) {
        const specs = reaching.get(mutant) ?? [];
        writeFileSync(join(tree, '.mutants/awake'), String(mutant.id));
        const [verdict, why] =
          specs.length === 0 ? (['SURVIVED', 'no test reaches it'] as const) : await this.attempt(tree, specs);
        verdicts.set(mutant, verdict);
        report(mutant, verdict, why);
      }
    };
    await Promise.all(Array.from({ length: copies }, (_, at) => work(this.copy(at))));
    return new Map(mutants.map((mutant) => [mutant, verdicts.get(mutant) ?? 'SURVIVED']));
  }

  private async attempt(tree: string, specs: readonly Spec[]): Promise<readonly [Verdict, string]> {
    let spent = 0;
    while (specs.length > 0 && spent < MOST_SECONDS) {
      let seconds = 0;
      const batch = specs.filter(
        (spec, at) => at === 0 || (seconds += spec.seconds) + (specs[0]?.seconds ?? 0) < BATCH_SECONDS,
      );
      specs = specs.slice(batch.length);
      const took = batch.reduce((sum, spec) => sum + spec.seconds, 0);
      spent += took;
      const paths = batch.map(({ path }) => path);
      const args = ['--bail', '--maxWorkers', '2', '--silent', '--runTestsByPath', ...paths];
      const { failed, names, isCut } = await this.jest(tree, args, 120 + 6 * took);
      if (failed.length > 0) return ['noticed', names[0] ?? failed[0] ?? ''];
      if (isCut) return ['timed out', paths.join(', ')];
    }
    return ['SURVIVED', ''];
  }

  private quickestFirst(
    mutants: readonly Numbered[],
    isReached: (path: string, mutant: Numbered) => boolean,
  ): ReadonlyMap<Numbered, readonly Spec[]> {
    const specs = [...this.seconds]
      .map(([path, seconds]) => ({ path, seconds }))
      .toSorted((a, b) => a.seconds - b.seconds);
    return new Map(mutants.map((mutant) => [mutant, specs.filter(({ path }) => isReached(path, mutant))]));
  }

  private copy(at: number): string {
    const target = `${this.tree}-${at}`;
    cpSync(this.tree, target, { recursive: true, filter: (path) => path !== join(this.tree, 'node_modules') });
    symlinkSync(join(this.tree, 'node_modules'), join(target, 'node_modules'));
    return target;
  }

  private async jest(tree: string, args: readonly string[], limitSeconds: number): Promise<Outcome> {
    const output = join(tree, '.mutants/result.json');
    rmSync(output, { force: true });
    const report = ['--reporters', './test/support/skip-reporter.js', '--json', '--outputFile', output];
    const child = spawn(process.execPath, [...JEST, ...report, ...args], {
      cwd: tree,
      env: { ...process.env, TEST_DATABASE_URL: this.databaseUrl },
      stdio: 'ignore',
      detached: true,
    });
    const timer = setTimeout(() => process.kill(-(child.pid ?? NaN), 'SIGKILL'), limitSeconds * 1_000);
    await new Promise((done) => child.on('close', done));
    clearTimeout(timer);
    const results = resultsIn(output);
    if (!results) return { failed: [], names: [], isCut: true };
    for (const { name, startTime, endTime } of results)
      this.seconds.set(name.slice(tree.length + 1), (endTime - startTime) / 1_000);
    const failed = results.filter(({ status }) => status === 'failed');
    const tests = failed.flatMap(({ assertionResults }) => assertionResults);
    return {
      failed: failed.map(({ name }) => name.slice(tree.length + 1)),
      names: tests.filter(({ status }) => status === 'failed').map(({ fullName }) => fullName),
      isCut: false,
    };
  }
}

type Outcome = {
  /** Paths of files. */
  readonly failed: readonly string[];
  /** Of tests. */
  readonly names: readonly string[];
  readonly isCut: boolean;
};

/** What Jest's --json has of a file. */
type Result = {
  readonly name: string;
  readonly status: string;
  readonly startTime: number;
  readonly endTime: number;
  readonly assertionResults: readonly { readonly status: string; readonly fullName: string }[];
};

const JEST = [
  '--experimental-vm-modules',
  '--no-warnings',
  'node_modules/jest/bin/jest.js',
  '--selectProjects',
  ...PROJECTS,
];

function resultsIn(output: string): readonly Result[] | undefined {
  try {
    return (JSON.parse(readFileSync(output, 'utf8')) as { testResults: readonly Result[] }).testResults;
  } catch {
    return undefined;
  }
}
