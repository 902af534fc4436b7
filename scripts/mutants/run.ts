import { execFileSync, spawn } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { once } from 'node:events';
import { join } from 'node:path';
import type { Numbered } from './instrument.ts';
import { isAbout, type Reach, type Spec } from './reach.ts';

export type Verdict = 'noticed' | 'timed out' | 'SURVIVED';

type Report = (mutant: Numbered, verdict: Verdict, why: string) => void;

/** Tried one after the other: what most mutants fail comes first. Seconds of tests. */
const BATCH_SECONDS = 40;
/** A mutant that survives this much of its tests counts as a survivor: those of e2e reach nearly everything. Seconds of tests. */
export const MOST_SECONDS = 150;
const PROJECTS = ['unit', 'integration', 'e2e'];

/** The tests on an instrumented tree. */
export class MutantRun {
  private readonly tree: string;
  private readonly databaseUrl: string;

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

  /** Runs files of tests once with all mutants asleep. @returns of those that pass, which mutants they reach */
  async record(paths: readonly string[]): Promise<Reach> {
    const hits = join(this.tree, '.mutants/hits');
    mkdirSync(hits);
    const output = join(this.tree, '.mutants/result.json');
    const args = ['--maxWorkers', '3', '--json', '--outputFile', output, '--runTestsByPath', ...paths];
    await this.jest(this.tree, args, 3_600);
    const results = JSON.parse(readFileSync(output, 'utf8')) as { readonly testResults: readonly Result[] };
    const reach = results.testResults.flatMap(({ name, status, startTime, endTime }) => {
      const path = name.slice(this.tree.length + 1);
      // A test that fails with no mutant awake says nothing about one: it reads the sources, for example.
      if (status === 'failed') console.log(`left out, as it fails with no mutant awake: ${path}`);
      const file = join(hits, path.replaceAll('/', '~'));
      const ids = existsSync(file) ? readFileSync(file, 'utf8').trim().split('\n').map(Number) : [];
      return status === 'failed' ? [] : [{ path, seconds: (endTime - startTime) / 1_000, ids }];
    });
    rmSync(hits, { recursive: true });
    return reach;
  }

  /** Paths of the files of tests that fit. */
  list(pattern: string): string[] {
    const args = [...JEST, '--listTests', '--testPathPatterns', pattern];
    // Jest says before what it runs.
    const said = execFileSync(process.execPath, args, { cwd: this.tree }).toString().split('\n');
    return said.filter((line) => line.startsWith(this.tree)).map((path) => path.slice(this.tree.length + 1));
  }

  /** Tries each with its tests, for so many seconds at most, in one of several copies of the tree. */
  async tryAll(
    mutants: readonly Numbered[],
    reach: Reach,
    { copies, mostSeconds }: { readonly copies: number; readonly mostSeconds: number },
    report: Report,
  ): Promise<ReadonlyMap<Numbered, Verdict>> {
    const verdicts = new Map<Numbered, Verdict>();
    const queue = [...mutants];
    const work = async (tree: string): Promise<void> => {
      for (let mutant = queue.shift(); mutant; mutant = queue.shift()) {
        const specs = this.inOrder(mutant, reach);
        writeFileSync(join(tree, '.mutants/awake'), String(mutant.id));
        const [verdict, why] =
          specs.length === 0
            ? (['SURVIVED', 'no test reaches it'] as const)
            : await this.attempt(tree, specs, mostSeconds);
        verdicts.set(mutant, verdict);
        report(mutant, verdict, why);
      }
    };
    await Promise.all(Array.from({ length: copies }, (_, at) => work(this.copy(at))));
    return new Map(mutants.map((mutant) => [mutant, verdicts.get(mutant) ?? 'SURVIVED']));
  }

  private async attempt(
    tree: string,
    specs: readonly Spec[],
    mostSeconds: number,
  ): Promise<readonly [Verdict, string]> {
    let spent = 0;
    while (specs.length > 0 && spent < mostSeconds) {
      let seconds = 0;
      const batch = specs.filter((spec, at) => (seconds += spec.seconds) < BATCH_SECONDS || at === 0);
      specs = specs.slice(batch.length);
      const took = batch.reduce((sum, spec) => sum + spec.seconds, 0);
      spent += took;
      const paths = batch.map(({ path }) => path);
      const args = ['--bail', '--maxWorkers', '2', '--silent', '--runTestsByPath', ...paths];
      const { failures, isCut } = await this.jest(tree, args, 120 + 6 * took);
      if (failures.length > 0) return ['noticed', failures[0] ?? ''];
      if (isCut) return ['timed out', paths.join(', ')];
    }
    return ['SURVIVED', ''];
  }

  /** Those that name the file first, as they are about it, and of each kind the quickest. */
  private inOrder({ id, file }: Numbered, reach: Reach): Spec[] {
    const specs = reach.filter(({ ids }) => ids.includes(id)).toSorted((a, b) => a.seconds - b.seconds);
    const { true: about = [], false: others = [] } = Object.groupBy(
      specs,
      ({ path }) => `${isAbout(this.tree, file, path)}` as const,
    );
    return [...about, ...others];
  }

  private copy(at: number): string {
    const target = `${this.tree}-${at}`;
    cpSync(this.tree, target, { recursive: true, filter: (path) => path !== join(this.tree, 'node_modules') });
    symlinkSync(join(this.tree, 'node_modules'), join(target, 'node_modules'));
    return target;
  }

  private async jest(tree: string, args: readonly string[], limitSeconds: number): Promise<Outcome> {
    const failures = join(tree, '.mutants/failures');
    rmSync(failures, { force: true });
    const child = spawn(process.execPath, [...JEST, '--reporters', './scripts/mutants/first-failure.js', ...args], {
      cwd: tree,
      env: { ...process.env, TEST_DATABASE_URL: this.databaseUrl },
      stdio: 'ignore',
      detached: true,
    });
    const timer = setTimeout(() => process.kill(-(child.pid ?? NaN), 'SIGKILL'), limitSeconds * 1_000);
    const [code, signal] = (await once(child, 'close')) as [number | null, string | null];
    clearTimeout(timer);
    const isCut = signal === 'SIGKILL';
    const known = existsSync(failures) ? readFileSync(failures, 'utf8').trim().split('\n') : [];
    return {
      isCut,
      failures: code === 0 || isCut || known.length > 0 ? known : [`Jest ends with ${code ?? signal ?? ''}`],
    };
  }
}

type Outcome = {
  /** Names of tests. */
  readonly failures: readonly string[];
  /** Ended by force. */
  readonly isCut: boolean;
};

/** What Jest's --json has of a file. */
type Result = {
  readonly name: string;
  readonly status: string;
  readonly startTime: number;
  readonly endTime: number;
};

const JEST = [
  '--experimental-vm-modules',
  '--no-warnings',
  'node_modules/jest/bin/jest.js',
  '--selectProjects',
  ...PROJECTS,
];
