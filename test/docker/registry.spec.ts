import { afterAll, beforeAll, expect, it } from '@jest/globals';
import { execFile } from 'node:child_process';
import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { createDockerRuntime } from '../../local/instances/docker-runtime.ts';
import { findHelloEngine, HELLO_IMAGE } from '../support/hello-image.ts';
import { type Job, remove, settled, WEB } from '../support/lifecycle.ts';
import { type Registry, startRegistry } from '../support/registry.ts';
import { startStack, type Stack } from '../support/stack.ts';
import { describeWhen } from '../support/when.ts';

const { engine, isReady, whyNot } = await findHelloEngine();
const PASSWORD = 'p"é\\ 8c1f';

describeWhen(isReady, whyNot, 'an image of a private registry', () => {
  let stack: Stack;
  let registry: Registry;
  let image: string;

  beforeAll(async () => {
    registry = await startRegistry();
    image = `${registry.host}/private:1`;
    await docker('tag', HELLO_IMAGE, image);
    await docker('push', '-q', image);
    registry.protect('robot', PASSWORD);
    // What is here needs no pull.
    await docker('rmi', image);
    const folder = mkdtempSync(join(tmpdir(), 'registry-'));
    const runtime = createDockerRuntime({ engineSocket: engine?.socket ?? '', folder });
    stack = await startStack({ runtime, cloud: { quotas: 'none' } });
  }, 120_000);
  afterAll(async () => {
    await remove(stack, 'web');
    await stack.stop();
    await registry.close();
    await docker('rmi', '-f', image).catch(() => undefined);
  }, 120_000);

  it('is pulled with the credentials of its registry, and not without or with others', async () => {
    const secrets = { GREETING: 'from a secret' };
    const put = (password: string) =>
      stack.call('PUT', `/v1/registries/${registry.host}`, { username: 'robot', password });
    await stack.call('POST', '/v1/jobs', { name: 'web', image, ...WEB, secrets });
    const refused = { status: 'failed', failedPhase: 'pulling', reason: 'image-unauthorized' };
    expect(await settled(stack, 'web', 1)).toMatchObject(refused);
    await put('another');
    await stack.call('POST', '/v1/jobs/web/deployments', {});
    expect(await settled(stack, 'web', 2)).toMatchObject(refused);
    await put(PASSWORD);
    await stack.call('POST', '/v1/jobs/web/deployments', {});
    expect(await settled(stack, 'web', 3)).toMatchObject({ status: 'active' });

    const { endpoints } = await stack.call<Job>('GET', '/v1/jobs/web');
    const response = await fetch(endpoints[0] ?? '', { headers: { connection: 'close' } });
    expect(await response.json()).toMatchObject({ hello: 'from a secret' });
  }, 240_000);
});

/** Not synchronous: the registry it talks to answers in this process. */
async function docker(...args: string[]): Promise<string> {
  return (await promisify(execFile)('docker', args)).stdout.trim();
}
