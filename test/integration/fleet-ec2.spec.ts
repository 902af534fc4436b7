import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { createServer, type Server } from 'node:http';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { type LocalCloud, startLocalCloud } from '../../local/cloud/local-cloud.ts';
import { Ec2 } from '../../src/aws/ec2.ts';
import { CLUSTER_TAG, LAUNCH_TAG, type RunInput } from '../../src/aws/ec2-types.ts';
import { launchInput } from '../../src/fleet/launch-input.ts';

describe('the EC2 adapter', () => {
  let cloud: LocalCloud;
  let ec2: Ec2;
  beforeAll(async () => {
    cloud = await startLocalCloud({
      port: 0,
      bootMs: 5,
      visibilityMs: 0,
      statusCheckMs: 0,
      quotas: 'none',
      seed: 7,
      runtime: {
        boot: () => Promise.resolve(),
        halt: () => Promise.resolve(),
        freeze: () => Promise.resolve(),
        thaw: () => Promise.resolve(),
      },
    });
    Object.assign(process.env, cloud.clientEnvironment);
    ec2 = new Ec2({ region: 'us-west-2', timeoutMs: 2_000 });
  });
  afterAll(async () => {
    ec2.close();
    await cloud.stop();
  });

  async function inputOf(count: number, cluster = 'one'): Promise<RunInput> {
    const [subnetId = ''] = await ec2.findDefaultSubnets();
    return launchInput({
      spec: { profile: null, diskGiB: 30, publicIp: true },
      securityGroupIds: [],
      offer: { type: 't3.small', subnetId, market: 'on-demand' },
      count,
      ami: (await ec2.findImage(ECS)) ?? { id: '', rootDevice: '', architecture: null },
      userDataBase64: Buffer.from('#!/bin/sh\n').toString('base64'),
      launchId: 'launch-1',
      cluster,
      tagKeys: { cluster: CLUSTER_TAG, launch: LAUNCH_TAG },
    });
  }

  it('launches what the input says, tags and all, and once for a token', async () => {
    const input = await inputOf(3);
    const launched = await ec2.runInstances(input, 'token-1');
    expect(launched).toHaveLength(3);
    expect(launched[0]).toMatchObject({
      state: 'pending',
      type: 't3.small',
      imageId: input.ImageId,
      stateReason: null,
    });
    expect(launched[0]?.tags).toEqual({ [CLUSTER_TAG]: 'one', [LAUNCH_TAG]: 'launch-1' });
    const again = await ec2.runInstances(input, 'token-1');
    const ids = (instances: { id: string }[]) => instances.map(({ id }) => id).sort();
    expect(ids(again)).toEqual(ids(launched));
    expect(ids(await ec2.describeByClientToken('token-1'))).toEqual(ids(launched));
    expect(await ec2.describeByClientToken('token-2')).toEqual([]);
  });

  it('lists a cluster page by page, and nothing of another', async () => {
    await ec2.runInstances(await inputOf(200, 'large'), 'large-1');
    await ec2.runInstances(await inputOf(50, 'large'), 'large-2');
    const pages: number[] = [];
    const ids = new Set<string>();
    for await (const page of ec2.describeByTag('large')) {
      pages.push(page.length);
      for (const { id } of page) ids.add(id);
    }
    expect(pages).toEqual([200, 50]);
    expect(ids.size).toBe(250);
  });

  it('describes by id, and passes by an id EC2 does not know', async () => {
    const [first] = await ec2.runInstances(await inputOf(1), 'token-3');
    const found = await ec2.describeByIds([first!.id, 'i-0fffffffffffffff0']);
    expect(found.map(({ id }) => id)).toEqual([first!.id]);
    expect(await ec2.describeByIds([])).toEqual([]);
  });

  it('tells EC2’s checks, and passes by an id EC2 does not know', async () => {
    const launched = await ec2.runInstances(await inputOf(2), 'token-4');
    const [well, frozen] = launched.map(({ id }) => id);
    for (;;) {
      const running = await ec2.describeByIds([well!, frozen!]);
      if (running.every(({ state }) => state === 'running')) break;
    }
    await cloud.faults.freeze(frozen!);
    const health = await ec2.describeStatuses([well!, frozen!, 'i-0fffffffffffffff0']);
    expect(Object.fromEntries(health)).toEqual({ [well!]: 'ok', [frozen!]: 'impaired' });
  });

  it('terminates all or none', async () => {
    const launched = await ec2.runInstances(await inputOf(2), 'token-5');
    const ids = launched.map(({ id }) => id);
    await expect(ec2.terminate([...ids, 'i-0fffffffffffffff0'])).rejects.toMatchObject({ kind: 'not-found' });
    expect(ids.map((id) => cloud.instance(id)?.state)).not.toContain('terminated');
    await ec2.terminate(ids);
    await ec2.terminate(ids);
    expect(ids.map((id) => cloud.instance(id)?.state)).not.toContain('running');
  });

  it('takes Amazon’s newest image, and never a stranger’s of the same name', async () => {
    const found = await ec2.findImage(ECS);
    expect(found).toEqual({
      id: expect.stringMatching(/^ami-/),
      rootDevice: '/dev/xvda',
      rootGiB: 30,
      architecture: 'x86_64',
    });
    expect((await ec2.findImage({ ...ECS, architecture: 'arm64' }))?.id).not.toBe(found?.id);
    expect(await ec2.findImage({ ...ECS, name: 'no-such-image*' })).toBeNull();
  });

  it('finds a default subnet in each zone', async () => {
    expect(await ec2.findDefaultSubnets()).toHaveLength(3);
  });

  it.each(['InsufficientInstanceCapacity', 'InternalError', 'ServiceUnavailable', 'RequestLimitExceeded'])(
    'makes one request of one mutating call, also when EC2 answers %s, which the SDK would repeat',
    async (code) => {
      const input = await inputOf(1);
      const mutating = {
        RunInstances: () => ec2.runInstances(input, `token-${code}`),
        TerminateInstances: () => ec2.terminate(['i-0fffffffffffffff0']),
        CreateTags: () => ec2.createTags(['i-0fffffffffffffff0'], [{ Key: 'a', Value: 'b' }]),
      };
      for (const [action, call] of Object.entries(mutating)) {
        const before = cloud.ledger.calls(action).length;
        cloud.faults.failNext(action, { code });
        await expect(call()).rejects.toMatchObject({ action, code });
        expect(cloud.ledger.calls(action)).toHaveLength(before + 1);
      }
      expect(await ec2.describeByClientToken(`token-${code}`)).toEqual([]);
    },
  );

  it('repeats a describe once: reading costs little, and a connection may just have been closed', async () => {
    const before = cloud.ledger.calls('DescribeInstances').length;
    cloud.faults.failNext('DescribeInstances', { code: 'InternalError' });
    expect(await ec2.describeByClientToken('token-2')).toEqual([]);
    expect(cloud.ledger.calls('DescribeInstances')).toHaveLength(before + 2);
  });

  it('does not know the outcome when the answer is lost', async () => {
    cloud.faults.loseAnswer('RunInstances');
    const lost = ec2.runInstances(await inputOf(1), 'token-7');
    await expect(lost).rejects.toMatchObject({ kind: 'unknown-outcome', reason: 'ec2-unreachable' });
    expect(await ec2.describeByClientToken('token-7')).toHaveLength(1);
  });

  it('does not wait for ever', async () => {
    const silent = await startSilentServer();
    process.env['AWS_ENDPOINT_URL'] = silent.url;
    const waiting = new Ec2({ region: 'us-west-2', timeoutMs: 200 });
    await expect(waiting.runInstances(await inputOf(1), 'token-8')).rejects.toMatchObject({
      kind: 'unknown-outcome',
      reason: 'ec2-timed-out',
    });
    waiting.close();
    process.env['AWS_ENDPOINT_URL'] = cloud.endpoint;
    silent.server.closeAllConnections();
    silent.server.close();
  });
});

const ECS = { name: 'al2023-ami-ecs-hvm-2023*', architecture: 'x86_64' } as const;

/** Takes every request and answers none. */
async function startSilentServer(): Promise<{ server: Server; url: string }> {
  const server = createServer(() => undefined).listen(0, '127.0.0.1');
  await once(server, 'listening');
  return { server, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}` };
}
