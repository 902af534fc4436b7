import { execFileSync } from 'node:child_process';
import { globSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from '@jest/globals';

const root = join(import.meta.dirname, '..');

describe('client/generated', () => {
  const directory = mkdtempSync(join(tmpdir(), 'scheduler-api-client-'));
  afterAll(() => rmSync(directory, { recursive: true }));

  it('is what docs/openapi.json makes: after a change of it run npm run client', () => {
    execFileSync(process.execPath, ['scripts/client.ts', directory], { cwd: root, timeout: 60_000 });
    expect(filesOf(join(root, 'client/generated'))).toEqual(filesOf(directory));
  }, 60_000);
});

function filesOf(directory: string): Record<string, string> {
  const names = globSync('**/*.ts', { cwd: directory });
  return Object.fromEntries(names.sort().map((name) => [name, readFileSync(join(directory, name), 'utf8')]));
}
