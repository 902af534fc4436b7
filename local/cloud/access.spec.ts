import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, rm, stat } from 'node:fs/promises';
import { request, type OutgoingHttpHeaders } from 'node:http';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { CreateBucketCommand, GetObjectCommand } from '@aws-sdk/client-s3';
import { Sha256 } from '@smithy/core/checksum';
import { SignatureV4 } from '@smithy/signature-v4';
import { startTestCloud, type TestCloud } from './test-support.ts';

const BUCKET = 'bucket';
const LAUNCH = 'Action=AllocateAddress&Version=2016-11-15';
const FORM = { 'content-type': 'application/x-www-form-urlencoded; charset=utf-8' };

let test: TestCloud;
beforeEach(async () => {
  test = await startTestCloud({ hosts: ['local-cloud'] });
  await test.s3.send(new CreateBucketCommand({ Bucket: BUCKET }));
});
afterEach(async () => test.stop());

describe('who may come in', () => {
  const own = ['localhost', 'LocalHost', '127.0.0.1', '127.3.2.1', '[::1]', 'local-cloud'];
  it.each(own)('whoever asks for %s', async (name) => {
    expect(await call({ headers: { ...FORM, host: hostOf(name) } })).toMatchObject({ status: 200 });
  });

  const foreign = ['page.test', 'localhost.', 'localhost.page.test', '127.0.0.1.page.test', '127.1', '2130706433', '0.0.0.0', '0x7f000001']
    .concat(['[::]', '[::ffff:127.0.0.1]', '10.0.0.1', 'local-cloud.', 'host.docker.internal', 'page.test@127.0.0.1', 'localhost:80']); // prettier-ignore
  it.each(foreign)('nobody who asks for %j, whose name may be anybody’s, whatever he has signed', async (name) => {
    expect(await call({ headers: { ...FORM, host: hostOf(name) } })).toMatchObject({ status: 403 });
    expectUnchanged();
  });

  const fromBrowsers: Record<string, string>[] = [
    { origin: 'null' },
    { origin: 'http://page.test' },
    { origin: 'http://127.0.0.1' },
    { referer: 'http://page.test/' },
    { 'sec-fetch-site': 'cross-site' },
    { 'sec-fetch-site': 'none' },
    { 'sec-fetch-dest': 'image' },
    { 'sec-websocket-key': 'AAAAAAAAAAAAAAAAAAAAAA==', upgrade: 'websocket', connection: 'upgrade' },
  ];
  it.each(fromBrowsers)('no web page: %j', async (headers) => {
    const answer = await call({ headers: { ...FORM, ...headers } });
    expect(answer).toMatchObject({ status: 403 });
    expect(answer.headers).not.toHaveProperty('access-control-allow-origin');
    expectUnchanged();
  });

  it.each([
    ['the absolute form', (host: string) => `GET http://${host}/_local/ledger HTTP/1.1\r\nHost: ${host}\r\n`],
    ['two hosts', (host: string) => `GET /_local/ledger HTTP/1.1\r\nHost: ${host}\r\nHost: page.test\r\n`],
    ['no host', () => 'GET /_local/ledger HTTP/1.0\r\n'],
    ['the asterisk', (host: string) => `OPTIONS * HTTP/1.1\r\nHost: ${host}\r\n`],
  ])('nothing with %s', async (_, head) => {
    const bearer = `Authorization: Bearer ${test.cloud.keys.controlToken}\r\n`;
    const answer = await raw(`${head(hostOf())}${bearer}Connection: close\r\n\r\n`);
    expect(answer).toMatch(/^HTTP\/1\.1 (400|403) /);
    expect(answer).not.toContain('instances');
  });

  it('reads nothing behind a request that it refused', async () => {
    const ledger = `GET /_local/ledger HTTP/1.1\r\nHost: ${hostOf()}\r\nAuthorization: Bearer ${test.cloud.keys.controlToken}\r\n\r\n`;
    const head = `POST / HTTP/1.1\r\nHost: page.test\r\nContent-Length: ${ledger.length}\r\n\r\n`;
    for (const hidden of [head + ledger, `${head.replace(/Content-Length: \d+/, 'Content-Length: 0')}${ledger}`]) {
      const answer = await raw(hidden);
      expect(answer.match(/HTTP\/1\.1 \d+/g)).toEqual(['HTTP/1.1 403']);
    }
  });
});

describe('whose call is answered', () => {
  it('of those with the keys, signed by whoever they like', async () => {
    const { accessKeyId, secretAccessKey } = test.cloud.keys;
    const curl = async (service: string, path: string, ...more: string[]) => {
      const key = ['--aws-sigv4', `aws:amz:us-west-2:${service}`, '--user', `${accessKeyId}:${secretAccessKey}`];
      const { stdout } = await promisify(execFile)('curl', [
        '-q',
        '-sS',
        ...key,
        ...more,
        `${test.cloud.endpoint}${path}`,
      ]);
      return stdout;
    };
    expect(await curl('ec2', '/', '--data', LAUNCH)).toContain('<allocationId>');
    expect(await curl('ec2', '/?Action=DescribeAddresses&Version=2016-11-15')).toContain('<publicIp>');
    expect(await curl('ec2', '/', '--data', 'Action=DescribeAddresses', '--user', `${accessKeyId}:x`)).toContain(
      'AuthFailure',
    );
  });

  const wrong: [string, Parameters<typeof call>[0]][] = [
    ['without a signature', { sign: 'none' }],
    ['with a query that looks like one', { sign: 'none', path: '/?X-Amz-Signature=x' }],
    ['signed in the query', { sign: 'query' }],
    ['with another key', { keys: { accessKeyId: 'AKIALOCALEXAMPLE0000' } }],
    ['with another secret', { keys: { secretAccessKey: 'local' } }],
    ['for another region', { region: 'us-east-1' }],
    ['for another service', { service: 's3' }],
    ['signed sixteen minutes ago', { signedMsAgo: 16 * 60_000 }],
    ['signed for in sixteen minutes', { signedMsAgo: -16 * 60_000 }],
    ['with another body', { tamper: (sent) => ({ ...sent, body: `${LAUNCH}&Domain=vpc` }) }],
    ['with another query', { tamper: (sent) => ({ ...sent, path: '/?DryRun=false' }) }],
    ['by another method', { body: '', path: `/?${LAUNCH}`, tamper: (sent) => ({ ...sent, method: 'GET' }) }],
    ['under another host', { tamper: (sent) => withHeader(sent, 'host', hostOf('localhost')) }],
    ['with a header of AWS that is not signed', { tamper: (sent) => withHeader(sent, 'x-amz-meta-x', '1') }],
    ['with the signature cut short', { tamper: (sent) => withHeader(sent, 'authorization', String(sent.headers['authorization']).slice(0, -1)) }], // prettier-ignore
    ['with a host that is not signed', { tamper: (sent) => withHeader(sent, 'authorization', String(sent.headers['authorization']).replace(';host;', ';')) }], // prettier-ignore
    ['with the digest of another body', { headers: { ...FORM, 'x-amz-content-sha256': sha256('') } }],
    ['with a body that is left out of it', { headers: { ...FORM, 'x-amz-content-sha256': 'UNSIGNED-PAYLOAD' } }],
  ];
  it.each(wrong)('not one of EC2 %s', async (_, options) => {
    const { status } = await call(options);
    expect(status).toBeGreaterThanOrEqual(400);
    expect(status).toBeLessThan(500);
    expectUnchanged();
  });

  it('not one of ECR', async () => {
    const headers = {
      'content-type': 'application/x-amz-json-1.1',
      'x-amz-target': 'AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken',
    };
    const ecr = { body: '{}', headers, service: 'ecr' } as const;
    expect((await call(ecr)).text).toContain('authorizationToken');
    for (const options of [{ sign: 'none' }, { sign: 'query' }, { keys: { secretAccessKey: 'x' } }] as const) {
      const { status, text } = await call({ ...ecr, ...options });
      expect([status, text.includes('authorizationToken')]).toEqual([400, false]);
    }
  });

  const put = {
    method: 'PUT',
    path: `/${BUCKET}/a%20b/ü`.replace('ü', '%C3%BC'),
    body: 'content',
    service: 's3',
  } as const;
  const digest = { 'x-amz-content-sha256': sha256('content') };
  it('of S3 with a digest of the body, or without one', async () => {
    for (const value of [sha256('content'), 'UNSIGNED-PAYLOAD']) {
      const headers = { 'x-amz-content-sha256': value, 'x-amz-meta-name': Buffer.from('ü').toString('latin1') };
      expect(await call({ ...put, headers })).toMatchObject({ status: 200 });
    }
    const { Body } = await test.s3.send(new GetObjectCommand({ Bucket: BUCKET, Key: 'a b/ü' }));
    expect(await Body?.transformToString()).toBe('content');
  });

  const wrongOfS3: [string, Parameters<typeof call>[0]][] = [
    ['without a signature', { sign: 'none' }],
    ['signed in the query', { sign: 'query' }],
    ['with another secret', { keys: { secretAccessKey: 'local' } }],
    ['signed an hour ago', { signedMsAgo: 3_600_000 }],
    ['without a digest', { headers: {} }],
    ['with a digest of no known kind', { headers: { 'x-amz-content-sha256': 'NONE' } }],
    ['in chunks', { headers: { 'x-amz-content-sha256': 'STREAMING-AWS4-HMAC-SHA256-PAYLOAD' } }],
    ['in chunks that are not signed', { headers: { 'x-amz-content-sha256': 'STREAMING-UNSIGNED-PAYLOAD-TRAILER' } }],
    ['with another body', { tamper: (sent) => ({ ...sent, body: 'other' }) }],
    ['for another object', { tamper: (sent) => ({ ...sent, path: `/${BUCKET}/b` }) }],
    ['for the same object by another path', { tamper: (sent) => ({ ...sent, path: `/${BUCKET}/./a%20b/%C3%BC` }) }],
    ['with metadata that are not signed', { tamper: (sent) => withHeader(sent, 'x-amz-meta-a', 'b') }],
  ];
  it.each(wrongOfS3)('not one of S3 %s', async (_, options) => {
    const { status } = await call({ ...put, headers: digest, ...options });
    expect([400, 403]).toContain(status);
    await expect(test.s3.send(new GetObjectCommand({ Bucket: BUCKET, Key: 'a b/ü' }))).rejects.toThrow('exist');
  });

  it('and the others are in no ledger, and use up no fault that waits for a call', async () => {
    test.cloud.faults.failNext('AllocateAddress', { code: 'InternalError' });
    const before = test.cloud.ledger.calls().length;
    await call({ sign: 'none' });
    await call({ keys: { secretAccessKey: 'x' } });
    expect(test.cloud.ledger.calls()).toHaveLength(before);
    expect((await call({})).status).toBe(500);
  });
});

describe('the control endpoints', () => {
  it.each([
    ['nothing', {}],
    ['another token', { authorization: 'Bearer local' }],
    ['the keys of AWS', { authorization: 'AWS4-HMAC-SHA256 Credential=x' }],
  ])('answer nobody with %s', async (_, headers) => {
    for (const [method, path] of [
      ['GET', 'ledger'],
      ['GET', 'instances'],
      ['POST', 'faults'],
      ['GET', 'nothing'],
    ]) {
      // prettier-ignore
      const answer = await send({ method: method!, path: `/_local/${path!}?token=${test.cloud.keys.controlToken}`, headers, body: '' });
      expect(answer).toMatchObject({ status: 401, text: expect.stringContaining('LOCAL_CONTROL_TOKEN') });
    }
  });
});

describe('the keys', () => {
  it('are made once for a folder, and for this user’s eyes only', async () => {
    const folders = await Promise.all([1, 2].map(async () => mkdtemp(join(tmpdir(), 'local-cloud-'))));
    const keysOf = async (stateDir: string) => {
      const test = await startTestCloud({ stateDir });
      await test.stop();
      return test.cloud.keys;
    };
    const [one, other] = [await keysOf(folders[0]!), await keysOf(folders[1]!)];
    expect(await keysOf(folders[0]!)).toEqual(one);
    for (const name of ['accessKeyId', 'secretAccessKey', 'controlToken'] as const)
      expect(one[name]).not.toBe(other[name]);
    expect((await stat(join(folders[0]!, 'keys.json'))).mode & 0o777).toBe(0o600);
    await Promise.all(folders.map(async (folder) => rm(folder, { recursive: true })));
  });
});

type Sent = { method: string; path: string; headers: OutgoingHttpHeaders; body: string };
type CallOptions = Partial<Omit<Sent, 'headers'>> & {
  headers?: Record<string, string>;
  service?: string;
  region?: string;
  keys?: { accessKeyId?: string; secretAccessKey?: string };
  signedMsAgo?: number;
  sign?: 'header' | 'query' | 'none';
  tamper?: (sent: Sent) => Sent;
};

/** A call of EC2 that changes something, signed well unless the options say otherwise. */
async function call(options: CallOptions) {
  const {
    method = 'POST',
    path = '/',
    body = LAUNCH,
    service = 'ec2',
    region = 'us-west-2',
    sign = 'header',
  } = options;
  const headers = { host: hostOf(), ...(options.headers ?? FORM) };
  const [pathname = '', query = ''] = path.split('?');
  const signer = new SignatureV4({
    credentials: { ...test.cloud.keys, ...options.keys },
    region,
    service,
    sha256: Sha256,
    uriEscapePath: false,
    applyChecksum: false,
  });
  const signingDate = new Date(Date.now() - (options.signedMsAgo ?? 0));
  const message = {
    method,
    protocol: 'http:',
    hostname: '127.0.0.1',
    path: pathname,
    query: Object.fromEntries(new URLSearchParams(query)),
    // What is sent as Latin-1 is UTF-8.
    headers: Object.fromEntries(
      Object.entries(headers).map(([name, value]) => [name, Buffer.from(value, 'latin1').toString()]),
    ),
    body,
  };
  if (sign === 'query') {
    const signed = await signer.presign(message, { signingDate });
    const pairs = new URLSearchParams(signed.query as Record<string, string>);
    return send({ method, path: `${pathname}?${pairs.toString().replaceAll('+', '%20')}`, headers, body });
  }
  const signed =
    sign === 'none' ? { headers: {} as Record<string, string> } : await signer.sign(message, { signingDate });
  const sent = { method, path, headers: { ...signed.headers, ...headers }, body };
  return send(options.tamper?.(sent) ?? sent);
}

async function send({ method, path, headers, body }: Sent) {
  const { hostname, port } = new URL(test.cloud.endpoint);
  const sent = request({
    hostname,
    port,
    method,
    path,
    headers: { ...headers, 'content-length': Buffer.byteLength(body) },
    agent: false,
  });
  // As a buffer: with a text Node writes the headers in the encoding of the text.
  sent.end(Buffer.from(body));
  return await new Promise<{ status: number; headers: NodeJS.Dict<string | string[]>; text: string }>(
    (resolve, reject) => {
      sent.on('error', reject);
      sent.on('response', (response) => {
        let text = '';
        response.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
        response.on('end', () => resolve({ status: response.statusCode ?? 0, headers: response.headers, text }));
      });
    },
  );
}

/** Sends the bytes unchanged. @returns the whole response */
async function raw(text: string): Promise<string> {
  const { hostname, port } = new URL(test.cloud.endpoint);
  const socket = connect(Number(port), hostname);
  let answer = '';
  socket.setEncoding('utf8').on('data', (chunk: string) => (answer += chunk));
  socket.write(text);
  await once(socket, 'close');
  return answer;
}

function hostOf(name = '127.0.0.1'): string {
  return name === '' ? '' : `${name}:${new URL(test.cloud.endpoint).port}`;
}

function withHeader(sent: Sent, name: string, value: string): Sent {
  return { ...sent, headers: { ...sent.headers, [name]: value } };
}

function expectUnchanged(): void {
  expect(test.cloud.ledger.calls('AllocateAddress')).toEqual([]);
}

function sha256(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}
