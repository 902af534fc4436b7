// Breaks one rule of the program at a time, in a copy of the tree, and runs the tests that must notice: `npm run
// test:broken-rules`, or with names (`-- cancel-not-kept …`) only those. A rule that no test defends, or a text that is no
// longer there, is an error: so the list stays true. With --texts only the texts are looked for, as `npm run lint` does.
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { RULES, type Rule, type Test } from './broken-rules.list.ts';
import { copySources } from './source-tree.ts';

const root = join(import.meta.dirname, '..');
/** Enough that each rule the histories defend is noticed within a fraction of them. */
const HISTORIES = '3000';
const SEED = '1';
/** A test that waits for what a broken rule never does ends by its own timeout before. */
const LONGEST_MS = 300_000;

type Verdict = 'caught' | 'SURVIVED' | 'BROKE THE TEST';

const names = process.argv.slice(2);
const stale = RULES.filter((rule) => !isThere(rule)).map(({ name, file }) => `${name}: ${file}`);
if (stale.length > 0)
  throw new Error(`these rules or their tests are not there as the list has them:\n${stale.join('\n')}`);
if (names.includes('--texts')) process.exit();
const rules = names.length > 0 ? RULES.filter(({ name }) => names.includes(name)) : RULES;
const copy = mkdtempSync(join(tmpdir(), 'broken-rules-'));
try {
  copySources(copy);
  await checkUnbroken(rules);
  const verdicts: Verdict[] = [];
  for (const rule of rules) {
    for (const test of rule.caughtBy) {
      const startedAt = performance.now();
      const verdict = await check(rule, test);
      const seconds = Math.round((performance.now() - startedAt) / 1000);
      verdicts.push(verdict);
      console.log(`${verdict.padEnd(14)} ${rule.name.padEnd(40)} ${test.file} (${seconds} s)`);
    }
  }
  const missed = verdicts.filter((verdict) => verdict !== 'caught').length;
  console.log(`\n${rules.length} broken rules, ${verdicts.length} tests that must notice, ${missed} did not`);
  process.exitCode = missed === 0 && rules.length > 0 ? 0 : 1;
} finally {
  rmSync(copy, { recursive: true, force: true });
}

function isThere({ file, text, caughtBy }: Rule): boolean {
  const read = (path: string): string => (existsSync(join(root, path)) ? readFileSync(join(root, path), 'utf8') : '');
  return read(file).split(text).length === 2 && caughtBy.every((test) => read(test.file).includes(test.only ?? 'it'));
}

async function checkUnbroken(checked: readonly Rule[]): Promise<void> {
  const tests = new Map(checked.flatMap(({ caughtBy }) => caughtBy.map((test) => [JSON.stringify(test), test])));
  for (const test of tests.values()) {
    const { passed, failed, broken } = await run(test);
    if (passed === 0 || failed.length + broken > 0)
      throw new Error(`${test.file} fails with every rule in place: ${failed.join(', ') || 'it does not run'}`);
  }
  console.log(`${tests.size} tests pass with every rule in place\n`);
}

async function check(rule: Rule, test: Test): Promise<Verdict> {
  const path = join(copy, rule.file);
  const text = readFileSync(path, 'utf8');
  writeFileSync(
    path,
    text.replace(rule.text, () => rule.broken),
  );
  try {
    const { failed, broken } = await run(test);
    if (broken > 0) return 'BROKE THE TEST';
    return failed.length > 0 ? 'caught' : 'SURVIVED';
  } finally {
    writeFileSync(path, text);
  }
}

type Outcome = {
  readonly passed: number;
  /** Names of tests. */
  readonly failed: readonly string[];
  /** Test files that could not even run: those prove nothing. */
  readonly broken: number;
};

/** What Jest's --json has of it. */
type Result = {
  readonly numPassedTests: number;
  readonly numRuntimeErrorTestSuites: number;
  readonly testResults: readonly { readonly assertionResults: readonly { status: string; fullName: string }[] }[];
};

async function run({ file, only }: Test): Promise<Outcome> {
  const output = join(copy, 'result.json');
  rmSync(output, { force: true });
  const project = /^test\/(integration|e2e)\//.exec(file)?.[1] ?? 'unit';
  const jest = ['node_modules/jest/bin/jest.js', '--selectProjects', project, '--runInBand', '--silent'];
  const report = ['--reporters', './test/support/skip-reporter.js', '--json', '--outputFile', output];
  const which = [...(only === undefined ? [] : ['--testNamePattern', only]), '--runTestsByPath', file];
  const args = ['--experimental-vm-modules', '--no-warnings', ...jest, ...report, ...which];
  const child = spawn(process.execPath, args, {
    cwd: copy,
    env: { ...process.env, HISTORIES, SEED, SHRINK: '0' },
    stdio: 'ignore',
    timeout: LONGEST_MS,
  });
  await new Promise((done) => child.on('close', done));
  // Ended by force: whatever hung, no test said so.
  if (!existsSync(output)) return { passed: 0, failed: [], broken: 1 };
  const result = JSON.parse(readFileSync(output, 'utf8')) as Result;
  const tests = result.testResults.flatMap(({ assertionResults }) => assertionResults);
  return {
    passed: result.numPassedTests,
    failed: tests.filter(({ status }) => status === 'failed').map(({ fullName }) => fullName),
    broken: result.numRuntimeErrorTestSuites,
  };
}
