import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from '@jest/globals';
import { Linter } from 'eslint';

const root = join(import.meta.dirname, '../..');
const RULES = JSON.parse(readFileSync(join(root, 'scripts/one-place-each.json'), 'utf8')) as {
  selector: string;
  message: string;
}[];

/** As src/jobs/second-place.ts would be linted. @returns the messages of what it may not hold */
function faultsOf(code: string): string[] {
  const rules = { 'no-restricted-syntax': ['error', ...RULES] } as Linter.RulesRecord;
  return new Linter().verify(code, [{ rules }]).map(({ message }) => message);
}

describe('lint', () => {
  it.each([
    ['waking', 'const WAKE = `UPDATE jobs SET next_pass_at = LEAST(next_pass_at, now()) WHERE id = ${id}`;'],
    ['waking, in a plain string', `const WAKE = 'UPDATE jobs SET next_pass_at = LEAST(next_pass_at, now())';`],
    ['writing events', 'const APPEND = `INSERT INTO events (type) VALUES (${type})`;'],
    ['notifying', "query('SELECT pg_notify($1, $2)');"],
    ['notifying, by a statement', "query('NOTIFY scheduler_signals');"],
    ['SQL that is not declared', "database.query('SELECT 1');"],
  ])('refuses a second place for %s', (_what, code) => {
    expect(faultsOf(`function id() { return 1; }\n${code}`)).toEqual([expect.stringMatching(/ of (Signals, )?src\//)]);
  });

  it('holds that for all of src but the one file of each, and no migration', () => {
    const config = (file: string) =>
      JSON.parse(execFileSync('npx', ['eslint', '--print-config', file], { cwd: root }).toString()) as Linter.Config;
    const selectorsOf = (file: string) => JSON.stringify(config(file).rules?.['no-restricted-syntax'] ?? []);
    for (const { selector } of RULES) {
      for (const file of ['src/jobs/jobs.service.ts', 'src/scheduler/plan/plan-job.ts', 'src/main.ts']) {
        expect(selectorsOf(file)).toContain(JSON.stringify(selector));
      }
    }
    for (const file of ['src/database/wake.ts', 'src/events/event-sql.ts', 'src/database/signals.ts']) {
      expect(selectorsOf(file)).not.toContain('INSERT INTO events');
    }
  }, 60_000);
});
