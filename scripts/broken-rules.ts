// Breaks one rule of the program at a time, in a copy of the tree, and runs the tests that must notice: `npm run
// test:broken-rules`, or with names (`-- cancel-not-kept …`) only those. A rule that no test defends, or a text that is no
// longer there, is an error: so the list stays true.
import { execFileSync, spawn } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { RULES, type Rule } from './broken-rules.list.ts';

const root = join(import.meta.dirname, '..');
/** Enough that each rule the histories defend is noticed within a fraction of them. */
const HISTORIES = '3000';
const SEED = '1';
/** A test that waits for what a broken rule never does ends by its own timeout before. */
const LONGEST_MS = 300_000;

type Verdict = 'caught' | 'SURVIVED' | 'BROKE THE TEST' | 'TEXT NOT FOUND';

const names = process.argv.slice(2);
const rules = names.length > 0 ? RULES.filter(({ name }) => names.includes(name)) : RULES;
const copy = copyTree();
try {
  await checkUnbroken(rules);
  const lines: [rule: Rule, test: string, verdict: Verdict, seconds: number][] = [];
  for (const rule of rules) {
    for (const test of rule.caughtBy) {
      const startedAt = performance.now();
      const verdict = await judge(rule, test);
      const seconds = Math.round((performance.now() - startedAt) / 1000);
      lines.push([rule, test, verdict, seconds]);
      console.log(`${verdict.padEnd(14)} ${rule.name.padEnd(40)} ${test} (${seconds} s)`);
    }
  }
  const missed = lines.filter(([, , verdict]) => verdict !== 'caught').length;
  console.log(`\n${rules.length} broken rules, ${lines.length} tests that must notice, ${missed} did not`);
  process.exitCode = missed === 0 && rules.length > 0 ? 0 : 1;
} finally {
  rmSync(copy, { recursive: true, force: true });
}

/** What git knows or would add, so that a change not yet committed is tested as well; packages are only pointed to. */
function copyTree(): string {
  const target = mkdtempSync(join(tmpdir(), 'broken-rules-'));
  const listed = execFileSync('git', ['ls-files', '-z', '--cached', '--others', '--exclude-standard'], { cwd: root });
  for (const path of listed.toString().split('\0').filter(Boolean)) {
    mkdirSync(join(target, dirname(path)), { recursive: true });
    cpSync(join(root, path), join(target, path), { force: true });
  }
  symlinkSync(join(root, 'node_modules'), join(target, 'node_modules'));
  return target;
}

async function checkUnbroken(checked: readonly Rule[]): Promise<void> {
  const tests = [...new Set(checked.flatMap(({ caughtBy }) => caughtBy))];
  for (const test of tests) {
    const { failed, broken } = await run(test);
    if (failed + broken > 0) throw new Error(`${test} fails with every rule in place`);
  }
  console.log(`${tests.length} test files pass with every rule in place\n`);
}

async function judge(rule: Rule, test: string): Promise<Verdict> {
  const path = join(copy, rule.file);
  const text = readFileSync(path, 'utf8');
  if (text.split(rule.text).length !== 2) return 'TEXT NOT FOUND';
  writeFileSync(
    path,
    text.replace(rule.text, () => rule.broken),
  );
  try {
    const { failed, broken } = await run(test);
    if (broken > 0) return 'BROKE THE TEST';
    return failed > 0 ? 'caught' : 'SURVIVED';
  } finally {
    writeFileSync(path, text);
  }
}

/** @returns tests that failed, and test files that could not even run: those prove nothing */
async function run(test: string): Promise<{ failed: number; broken: number }> {
  const output = join(copy, 'result.json');
  rmSync(output, { force: true });
  const project = test.startsWith('test/integration') ? 'integration' : 'unit';
  const jest = ['node_modules/jest/bin/jest.js', '--selectProjects', project, '--runInBand', '--bail=1', '--silent'];
  const report = ['--reporters', './test/support/skip-reporter.js', '--json', '--outputFile', output];
  const args = ['--experimental-vm-modules', '--no-warnings', ...jest, ...report, '--runTestsByPath', test];
  const child = spawn(process.execPath, args, {
    cwd: copy,
    env: { ...process.env, HISTORIES, SEED, SHRINK: '0' },
    stdio: 'ignore',
    timeout: LONGEST_MS,
  });
  await new Promise((done) => child.on('close', done));
  const result = JSON.parse(readFileSync(output, 'utf8')) as {
    numFailedTests: number;
    numRuntimeErrorTestSuites: number;
  };
  return { failed: result.numFailedTests, broken: result.numRuntimeErrorTestSuites };
}
