import { verify, X509Certificate } from 'node:crypto';
import { request } from 'node:http';
import { createServer } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { startTestCloud, until, type TestCloud } from './test-support.ts';

let test: TestCloud;
beforeEach(async () => {
  test = await startTestCloud();
});
afterEach(async () => test.stop());

describe('the metadata service', () => {
  it('gives a token, and everything only with it', async () => {
    const { endpoint, get, id } = await boot();
    const without = await fetch(`${endpoint}/latest/meta-data/instance-id`);
    expect(without.status).toBe(401);
    await expect(get('meta-data/instance-id')).resolves.toBe(id);
  });

  it.each([
    ['no lifetime', {}, 400],
    ['a lifetime of 0', { 'x-aws-ec2-metadata-token-ttl-seconds': '0' }, 400],
    ['a lifetime over six hours', { 'x-aws-ec2-metadata-token-ttl-seconds': '21601' }, 400],
    ['a proxy between', { 'x-aws-ec2-metadata-token-ttl-seconds': '60', 'x-forwarded-for': '10.0.0.1' }, 403],
  ])('refuses a token with %s', async (_, headers, status) => {
    const { endpoint } = await boot();
    expect((await fetch(`${endpoint}/latest/api/token`, { method: 'PUT', headers })).status).toBe(status);
  });

  it("refuses another instance's token", async () => {
    const [one, other] = [await boot(), await boot()];
    const headers = { 'x-aws-ec2-metadata-token': one.token };
    expect((await fetch(`${other.endpoint}/latest/meta-data/instance-id`, { headers })).status).toBe(401);
  });

  it('answers what the agent and cloud-init ask', async () => {
    const { id, get } = await boot({ UserData: Buffer.from('#!/bin/sh\n').toString('base64') });
    const instance = test.cloud.instance(id)!;
    await expect(get('user-data')).resolves.toBe('#!/bin/sh\n');
    await expect(get('meta-data/local-ipv4')).resolves.toBe(instance.privateIp);
    await expect(get('meta-data/public-ipv4')).resolves.toBe(instance.publicIp);
    await expect(get('meta-data/placement/availability-zone')).resolves.toBe(instance.spec.availabilityZone);
    await expect(get('meta-data/placement/region')).resolves.toBe('us-west-2');
    await expect(get('meta-data/instance-type')).resolves.toBe('t3.micro');
    await expect(get('meta-data/ami-id')).resolves.toBe(instance.spec.imageId);
    await expect(get('meta-data/placement/')).resolves.toBe('availability-zone\nregion');
    for (const missing of [
      'meta-data/tags/instance',
      'meta-data/spot/instance-action',
      'meta-data/constructor',
      'dynamic/instance-identity/pkcs7',
    ]) {
      await expect(get(missing)).resolves.toBe(404);
    }
  });

  it('has no public address and no user-data when there are none', async () => {
    const NetworkInterfaces = [{ DeviceIndex: 0, AssociatePublicIpAddress: false }];
    const { get } = await boot({ NetworkInterfaces });
    await expect(get('meta-data/public-ipv4')).resolves.toBe(404);
    await expect(get('user-data')).resolves.toBe(404);
  });

  it('announces a spot interruption', async () => {
    const { id, get } = await boot({ InstanceMarketOptions: { MarketType: 'spot' } });
    test.cloud.faults.spotNotice(id, 120);
    const notice = JSON.parse(String(await get('meta-data/spot/instance-action'))) as { action: string; time: string };
    expect(notice.action).toBe('terminate');
    expect(notice.time).toMatch(/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/);
    await expect(get('meta-data/events/recommendations/rebalance')).resolves.toContain('noticeTime');
  });

  it('is gone with the instance', async () => {
    const { id, endpoint } = await boot();
    test.cloud.faults.kill(id);
    await expect(
      (async () => {
        for (;;) await fetch(`${endpoint}/latest/meta-data/`);
      })(),
    ).rejects.toThrow('fetch failed');
  });
});

describe('who reads an instance’s metadata', () => {
  it.each([
    ['a name that was pointed at it', { host: 'page.test' }],
    ['the name of this machine', { host: 'localhost' }],
    ['the address of another instance', { host: '127.91.255.254' }],
    ['a web page', { origin: 'http://page.test' }],
    ['an image of a web page', { 'sec-fetch-site': 'cross-site' }],
  ])('is not %s, even with a token', async (_, headers) => {
    const { endpoint, token } = await boot({ UserData: Buffer.from('#!/bin/sh\n').toString('base64') });
    for (const [method, path] of [
      ['GET', 'user-data'],
      ['PUT', 'api/token'],
    ] as const) {
      // prettier-ignore
      const given = { 'x-aws-ec2-metadata-token': token, 'x-aws-ec2-metadata-token-ttl-seconds': '60', ...headers };
      const status = await new Promise((resolve, reject) => {
        const sent = request(`${endpoint}/latest/${path}`, { method, headers: given, agent: false });
        sent.on('response', (response) => resolve(response.resume().statusCode)).on('error', reject);
        sent.end();
      });
      expect(status).toBe(403);
    }
  });

  it('is not whoever shares the address of this machine with it, where instances have none of their own', async () => {
    await test.stop();
    test = await startTestCloud({ bootMs: 300 });
    const [id = ''] = await test.run();
    const { privateIp } = test.cloud.instance(id)!;
    const { port } = new URL(test.cloud.endpoint);
    const occupant = createServer().listen(Number(port), privateIp);
    try {
      const { metadataEndpoint } = await test.runtime.booted(id);
      expect(metadataEndpoint).toMatch(new RegExp(`^${test.cloud.endpoint}/_imds/[0-9a-f]{64}$`));
      const tokenAt = async (endpoint: string) => {
        const headers = { 'x-aws-ec2-metadata-token-ttl-seconds': '60' };
        return (await fetch(`${endpoint}/latest/api/token`, { method: 'PUT', headers })).status;
      };
      expect(await tokenAt(metadataEndpoint)).toBe(200);
      await expect(tokenAt(`${test.cloud.endpoint}/_imds/${id}`)).rejects.toThrow('fetch failed');
      await expect(tokenAt(`${metadataEndpoint.slice(0, -1)}_`)).rejects.toThrow('fetch failed');
      test.cloud.faults.kill(id);
      await until(() => test.cloud.instance(id)?.state === 'terminated', 'the end of the instance');
      await expect(tokenAt(metadataEndpoint)).rejects.toThrow('fetch failed');
    } finally {
      occupant.close();
    }
  });
});

describe('the identity document', () => {
  it('names the instance and is signed over its exact bytes', async () => {
    const { id, get } = await boot();
    const document = String(await get('dynamic/instance-identity/document'));
    const instance = test.cloud.instance(id)!;
    expect(JSON.parse(document)).toMatchObject({
      accountId: '000000000000',
      architecture: 'x86_64',
      availabilityZone: instance.spec.availabilityZone,
      imageId: instance.spec.imageId,
      instanceId: id,
      instanceType: 't3.micro',
      pendingTime: `${instance.pendingAt.slice(0, 19)}Z`,
      privateIp: instance.privateIp,
      region: 'us-west-2',
      version: '2017-09-30',
    });
    const signature = Buffer.from(String(await get('dynamic/instance-identity/signature')), 'base64');
    const certificate = new X509Certificate(test.cloud.identityCertificatePem);
    const isSigned = (text: string) => verify('RSA-SHA256', Buffer.from(text), certificate.publicKey, signature);
    expect(isSigned(document)).toBe(true);
    expect(isSigned(document.replace(id, 'i-00000000000000000'))).toBe(false);
  });

  it('comes with a certificate that is sound', () => {
    const certificate = new X509Certificate(test.cloud.identityCertificatePem);
    expect(certificate.verify(certificate.publicKey)).toBe(true);
    expect(certificate.subject).toBe('CN=Scheduler API local cloud');
    expect(certificate.issuer).toBe(certificate.subject);
    expect(certificate.validTo).toBe('Jan  1 00:00:00 2195 GMT');
    expect(certificate.publicKey.asymmetricKeyDetails).toMatchObject({ modulusLength: 2048 });
  });
});

async function boot(input: Parameters<TestCloud['run']>[0] = {}) {
  const [id = ''] = await test.run(input);
  const { metadataEndpoint: endpoint } = await test.runtime.booted(id);
  const lifetime = { 'x-aws-ec2-metadata-token-ttl-seconds': '60' };
  const answer = await fetch(`${endpoint}/latest/api/token`, { method: 'PUT', headers: lifetime });
  const token = await answer.text();
  const get = async (path: string): Promise<string | number> => {
    const found = await fetch(`${endpoint}/latest/${path}`, { headers: { 'x-aws-ec2-metadata-token': token } });
    const body = await found.text();
    return found.ok ? body : found.status;
  };
  return { id, endpoint, token, get };
}
