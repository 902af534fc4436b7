import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { createImages } from '../../local/cloud/images.ts';
import { createSimulatedRuntime } from '../../local/instances/simulated-runtime.ts';
import { alive, type Job, remove, settled, WEB } from '../support/lifecycle.ts';
import { startStack, type Stack } from '../support/stack.ts';
import { until } from '../../local/until.ts';

describe('what serves on an AMI that is not allowed any more', () => {
  const ami = createImages().find(({ rootDevice }) => rootDevice === '/dev/sda1')?.id;
  let directory: string;
  let settings: string;
  let stack: Stack;
  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), 'allowed-'));
    settings = join(directory, 'env');
    await writeFile(settings, `ALLOWED_AMIS=${ami}\n`);
    stack = await startStack({ runtime: createSimulatedRuntime(), env: { ENV_FILE: settings } });
  }, 60_000);
  afterAll(async () => {
    await stack.stop();
    await rm(directory, { recursive: true });
  }, 60_000);

  it('heals on it, with a warning, and is not deployed again', async () => {
    await stack.call('POST', '/v1/jobs', { name: 'web', image: 'web:1', ...WEB, instance: { ami } });
    expect(await settled(stack, 'web', 1)).toMatchObject({ status: 'active' });
    await stack.kill(0);
    await writeFile(settings, 'ALLOWED_AMIS=ecs-al2023\n');
    await stack.restart(0);
    expect(await stack.status('POST', '/v1/jobs/web/restart')).toBe(403);
    const [before = ''] = alive(stack);
    stack.cloud.faults.kill(before);
    await until(async () => {
      const { status, instance } = await stack.call<Job>('GET', '/v1/jobs/web');
      return status === 'running' && instance !== null && instance.id !== before;
    });
    const [id = ''] = alive(stack);
    expect(stack.cloud.instance(id)?.spec.imageId).toBe(ami);
    const lines = stack.logs().split('\n');
    const warnings = lines.filter((line) => line.includes('an AMI that is not in ALLOWED_AMIS is launched'));
    expect(warnings.map((line) => JSON.parse(line) as object)).toMatchObject([
      { level: 'warn', job: 'web', deployment: 1, attempt: 2, ami },
    ]);
    await remove(stack, 'web');
  }, 120_000);
});
