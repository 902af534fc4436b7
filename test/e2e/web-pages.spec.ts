import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, expect, it } from '@jest/globals';
import { DescribeInstancesCommand, EC2Client } from '@aws-sdk/client-ec2';
import { CreateBucketCommand, PutObjectCommand, S3Client } from '@aws-sdk/client-s3';
import { createSimulatedRuntime } from '../../local/instances/simulated-runtime.ts';
import { type HostileBrowser, openHostileBrowser, type Read, whyNoBrowser } from '../support/hostile-pages.ts';
import { apiTargets, cloudTargets, metadataTargets } from '../support/hostile-targets.ts';
import { WEB } from '../support/lifecycle.ts';
import { startStack, type Stack } from '../support/stack.ts';
import { unpackUserData } from '../support/user-data.ts';
import { describeWhen } from '../support/when.ts';

const JOB = 'victim-of-pages';
const VALUE = 'the value of a variable';
const OBJECT = 'the content of an object';
const JSON_TYPE = { 'content-type': 'application/json' };

const reason = whyNoBrowser();

// As `npm run local` has it: the API asks nobody for a token, and the local cloud is beside it.
describeWhen(reason === undefined, reason ?? '', 'a web page in a browser of this machine', () => {
  let stack: Stack;
  let browser: HostileBrowser | undefined;
  let metadata: string;
  /** What no page may ever read. */
  let secrets: string[];
  let before: unknown;

  beforeAll(async () => {
    stack = await startStack({ runtime: createSimulatedRuntime(), env: { TRUST_PROXY: 'true' } });
    await stack.call('POST', '/v1/jobs', { name: JOB, image: 'web:1', env: { VALUE }, ...WEB });
    await stack.call('GET', `/v1/jobs/${JOB}/deployments/1?wait=60&until=settled`);
    const { instance } = await stack.call<{ instance: { id: string; privateIp: string } }>('GET', `/v1/jobs/${JOB}`);
    const { port } = new URL(stack.cloud.endpoint);
    metadata = `http://${instance.privateIp}:${port}`;
    const { keys, endpoint, region } = stack.cloud;
    const s3 = new S3Client({ endpoint, region, credentials: keys, forcePathStyle: true });
    await s3.send(new CreateBucketCommand({ Bucket: 'private' }));
    await s3.send(new PutObjectCommand({ Bucket: 'private', Key: 'object', Body: OBJECT }));
    s3.destroy();
    const launchSecret = /^printf %s '([0-9a-f]{64})' >launch-secret$/m.exec(
      unpackUserData(stack.cloud.instance(instance.id)?.userData ?? ''),
    )?.[1];
    if (launchSecret === undefined) throw new Error('the user data have no launch secret');
    secrets = [VALUE, OBJECT, launchSecret, instance.id, keys.accessKeyId, keys.controlToken, stack.cloud.ecrPassword];
    browser = await openHostileBrowser({
      '*.site.test': '127.0.0.1',
      'site.test': '127.0.0.1',
      'metadata.test': instance.privateIp,
    });
    before = await stateOf();
  }, 180_000);
  afterAll(async () => {
    await browser?.close();
    await stack.stop();
  }, 60_000);

  /** All that a page could have changed. */
  const stateOf = async () => {
    const { cloud } = stack;
    const isAsked = ({ action }: { action: string }) => !/^(Describe|Get|Head)/.test(action);
    return {
      instances: cloud.ledger.instances().map(({ id, state }) => [id, state]),
      changes: cloud.ledger.calls().filter(isAsked),
      jobs: await stack.query(`SELECT name, desired_state, definition, deleted_at FROM jobs`),
      deployments: await stack.query(`SELECT number, status FROM deployments`),
      tokens: await stack.query('SELECT count(*) FROM tokens'),
      webhooks: await stack.query('SELECT count(*) FROM webhooks'),
      registries: await stack.query('SELECT count(*) FROM registries'),
    };
  };

  const expectNothing = async (read: readonly Read[]): Promise<void> => {
    const told = read.filter(({ text }) => secrets.some((secret) => text.includes(secret)));
    expect(told).toEqual([]);
    expect(await stateOf()).toEqual(before);
    // Nor is a fault set: a page would throttle this.
    const { keys, endpoint, region } = stack.cloud;
    const ec2 = new EC2Client({ endpoint, region, credentials: keys, maxAttempts: 1 });
    const { Reservations } = await ec2.send(new DescribeInstancesCommand({}));
    ec2.destroy();
    expect(Reservations).toHaveLength(1);
  };

  it('has ways that work: each arrives at a service that asks nobody, and under its name reads what that says', async () => {
    const arrived: string[] = [];
    const naive = createServer((request, response) => {
      arrived.push(`${request.method} ${request.headers['content-type'] ?? ''}`);
      response.end('the answer');
    }).listen(0, '127.0.0.1');
    await once(naive, 'listening');
    const { port } = naive.address() as AddressInfo;
    const post = { method: 'POST', headers: JSON_TYPE, body: '{}' };
    try {
      expect(await browser!.ofAnotherSite([{ ...post, url: `http://127.0.0.1:${port}/` }])).toEqual([]);
      const plain = arrived.filter((sent) => sent.startsWith('GET'));
      expect(plain.length).toBeGreaterThan(10);
      for (const type of ['text/plain', 'application/x-www-form-urlencoded', 'multipart/form-data']) {
        expect(arrived).toContainEqual(expect.stringContaining(`POST ${type}`));
      }
      expect(arrived).toContainEqual(expect.stringContaining('OPTIONS'));
      expect(arrived).not.toContain('POST application/json');

      const origin = `http://naive.site.test:${port}`;
      const read = await browser!.underName(origin, [{ ...post, url: `${origin}/` }]);
      expect(read.filter(({ text }) => text.includes('the answer')).length).toBeGreaterThan(5);
      expect(arrived).toContain('POST application/json');
    } finally {
      naive.closeAllConnections();
      naive.close();
    }
  }, 120_000);

  it('of another site gets no answer, and changes nothing', async () => {
    const read = [];
    for (const base of [stack.url, stack.url.replace('127.0.0.1', 'localhost')])
      read.push(...(await browser!.ofAnotherSite(apiTargets(base, JOB))));
    for (const base of [stack.cloud.endpoint, stack.cloud.endpoint.replace('127.0.0.1', 'localhost')])
      read.push(...(await browser!.ofAnotherSite(cloudTargets(base))));
    read.push(...(await browser!.ofAnotherSite(metadataTargets(metadata))));
    expect(read).toEqual([]);
    await expectNothing(read);
  }, 180_000);

  it('whose name was pointed at the API gets refusals, and what is open to everybody', async () => {
    const origin = `http://api.site.test:${new URL(stack.url).port}`;
    const read = await browser!.underName(origin, apiTargets(origin, JOB));
    expect(read.length).toBeGreaterThan(20);
    expect(read.filter(({ text }) => !/"status":4\d\d,/.test(text))).toEqual([]);
    await expectNothing(read);
  }, 120_000);

  it('whose name was pointed at the local cloud gets refusals', async () => {
    const origin = `http://cloud.site.test:${new URL(stack.cloud.endpoint).port}`;
    const read = await browser!.underName(origin, cloudTargets(origin));
    expect(read.length).toBeGreaterThan(20);
    expect(read.filter(({ text }) => !/^(403 )?(The Host must be|A request with)/.test(text))).toEqual([]);
    await expectNothing(read);
  }, 120_000);

  it('whose name was pointed at an instance gets refusals of its metadata', async () => {
    const origin = `http://metadata.test:${new URL(metadata).port}`;
    const read = await browser!.underName(origin, metadataTargets(origin));
    expect(read.length).toBeGreaterThan(10);
    expect(read.filter(({ text }) => !/^(403 )?(The Host must be|A request with)/.test(text))).toEqual([]);
    await expectNothing(read);
  }, 120_000);
});
