import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { createSimulatedRuntime } from '../../local/instances/simulated-runtime.ts';
import { connect } from '../../client/index.ts';
import { startStack, type Stack } from '../support/stack.ts';

const root = join(import.meta.dirname, '../..');

describe('the client', () => {
  let stack: Stack;
  let directory: string;
  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'scheduler-api-client-'));
    stack = await startStack({ runtime: createSimulatedRuntime() });
  }, 60_000);
  afterAll(async () => {
    await stack.stop();
    await rm(directory, { recursive: true, force: true });
  }, 60_000);

  it('does what its README shows, in a program that has it by npm link', async () => {
    const readme = await readFile(join(root, 'client/README.md'), 'utf8');
    const [, code] = /```js\n([^]*?)```/.exec(readme)!;
    await mkdir(join(directory, 'node_modules'));
    await symlink(root, join(directory, 'node_modules/scheduler-api'));
    await writeFile(join(directory, 'deploy.mjs'), code!);
    const env = { PATH: process.env['PATH'], SCHEDULER_URL: stack.url };
    const { stdout } = await promisify(execFile)(process.execPath, ['deploy.mjs'], { cwd: directory, env });
    expect(stdout).toBe('active null\n');
  }, 60_000);

  it('gives problems as they are, and the answers it has types for', async () => {
    const scheduler = connect({ url: `${stack.url}/` });
    const { data, error, response } = await scheduler.jobs.get({ path: { name: 'nowhere' } });
    expect(data).toBeUndefined();
    expect(error).toMatchObject({ type: '/problems/job-not-found', status: 404 });
    expect(response?.status).toBe(404);
    const { data: logs } = await scheduler.logs.read({ path: { name: 'web' } });
    expect(logs).toMatchObject({ items: expect.any(Array), nextCursor: null });
    const repeated = await Promise.all([1, 2].map(() => scheduler.jobs.stop({ path: { name: 'web' } })));
    expect(repeated.map(({ data: job }) => job?.desiredState)).toEqual(['stopped', 'stopped']);
  });
});
