import { execFile, execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, it } from '@jest/globals';
import { type Api, startApi } from '../support/api.ts';
import { createEmptyDatabase, dropDatabase } from '../support/database.ts';
import { describeWhen } from '../support/when.ts';

const ADMIN_TOKEN = 'the-token-of-the-operator';
const root = join(import.meta.dirname, '../..');

describeWhen(hasPython(), 'there is no python3', 'a client of another language', () => {
  let api: Api;
  let databaseUrl: string;

  beforeAll(async () => {
    databaseUrl = await createEmptyDatabase();
    api = await startApi({ databaseUrl, env: { ADMIN_TOKEN, ROLE: 'api' } });
  });

  afterAll(async () => {
    await api.close();
    await dropDatabase(databaseUrl);
  });

  it('is made of docs/openapi.json alone, and its calls and answers are what that says', async () => {
    const client = join(root, 'test/support/document_client.py');
    const args = [client, join(root, 'docs/openapi.json'), api.url, ADMIN_TOKEN];
    const { stdout } = await promisify(execFile)('python3', args, { timeout: 60_000 });
    const { operations, patterns, statuses } = JSON.parse(stdout) as Record<string, unknown>;
    expect(statuses).toEqual([200, 201, 201, 200, 200, 200, 200, 200, 404, 202]);
    expect(operations).toBeGreaterThan(35);
    expect(patterns).toBeGreaterThan(20);
  });
});

function hasPython(): boolean {
  try {
    execFileSync('python3', ['--version'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}
