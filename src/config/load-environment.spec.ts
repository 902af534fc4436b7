import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { loadEnvironment } from './load-environment.js';

const AWS_NAMES = ['AWS_ENDPOINT_URL', 'AWS_ACCESS_KEY_ID', 'AWS_SECRET_ACCESS_KEY', 'AWS_REGION'];

describe('loadEnvironment', () => {
  let directory: string;
  let s3: FakeS3;
  let previous: Record<string, string | undefined>;

  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'load-environment-'));
    s3 = await startFakeS3();
    previous = Object.fromEntries(AWS_NAMES.map((name) => [name, process.env[name]]));
    // The SDK reads the process's own environment, not the one under test.
    Object.assign(process.env, {
      AWS_ENDPOINT_URL: s3.url,
      AWS_ACCESS_KEY_ID: 'test',
      AWS_SECRET_ACCESS_KEY: 'test',
    });
  });

  afterEach(async () => {
    for (const name of AWS_NAMES) {
      const value = previous[name];
      if (value === undefined) Reflect.deleteProperty(process.env, name);
      else process.env[name] = value;
    }
    await s3.close();
    await rm(directory, { recursive: true });
  });

  const write = async (name: string, text: string): Promise<string> => {
    const path = join(directory, name);
    await writeFile(path, text);
    return path;
  };

  it('reads .env of the directory when there is one, and does without', async () => {
    expect(await loadEnvironment({ A: '1' }, { directory })).toEqual({ A: '1' });
    await write('.env', 'A=file\nB="two words" # why\n');
    expect(await loadEnvironment({ A: '1' }, { directory })).toEqual({ A: '1', B: 'two words' });
  });

  it('reads ENV_FILE instead, which must be there', async () => {
    await write('.env', 'B=not this');
    const ENV_FILE = await write('other', 'C=3');
    expect(await loadEnvironment({ ENV_FILE }, { directory })).toEqual({ ENV_FILE, C: '3' });
    await expect(loadEnvironment({ ENV_FILE: '/nowhere/env' }, { directory })).rejects.toThrow(
      /ENV_FILE: \/nowhere\/env .*ENOENT/,
    );
  });

  it('lets the process win over S3, S3 over the file', async () => {
    await write('.env', 'A=file\nB=file\nC=file\nSECRETS_URI=s3://bucket/secrets/.env');
    s3.objects.set('/bucket/secrets/.env', 'A=s3\nB=s3\nD=s3\n');

    const merged = await loadEnvironment({ A: 'process', D: '', AWS_ENDPOINT_URL: s3.url }, { directory });

    expect(merged).toMatchObject({ A: 'process', B: 's3', C: 'file', D: 's3' });
  });

  it('hands what the AWS SDK and OpenTelemetry read to the process, and nothing else', async () => {
    await write('.env', `AWS_PROFILE=ops\nADMIN_TOKEN=secret\nSECRETS_URI=s3://bucket/key\nAWS_ENDPOINT_URL=${s3.url}`);
    s3.objects.set('/bucket/key', 'AWS_REGION=eu-west-1\nOTEL_SERVICE_NAME=ours\nENCRYPTION_KEY=secret');
    const env: NodeJS.ProcessEnv = { AWS_PROFILE: 'mine' };

    await loadEnvironment(env, { directory });

    expect(env).toEqual({
      AWS_PROFILE: 'mine',
      AWS_REGION: 'eu-west-1',
      AWS_ENDPOINT_URL: s3.url,
      OTEL_SERVICE_NAME: 'ours',
    });
  });

  it.each([
    ['is missing', 's3://bucket/none', /SECRETS_URI: s3:\/\/bucket\/none .*NoSuchKey/],
    [
      'is forbidden',
      's3://bucket/forbidden',
      /SECRETS_URI: s3:\/\/bucket\/forbidden .*AccessDenied: the role may not read it, or it does not exist/,
    ],
    ['has no key', 's3://bucket', /SECRETS_URI: must look like/],
  ])('says which object %s', async (_what, SECRETS_URI, message) => {
    const env = { SECRETS_URI, AWS_ENDPOINT_URL: s3.url };
    await expect(loadEnvironment(env, { directory })).rejects.toThrow(message);
  });

  // A bound of its own: a busy machine may take longer than it to answer at all.
  it('says which object never answers', async () => {
    const env = { SECRETS_URI: 's3://bucket/hang', AWS_ENDPOINT_URL: s3.url };
    const loaded = loadEnvironment(env, { directory, timeoutMs: 300 });
    await expect(loaded).rejects.toThrow(/SECRETS_URI: s3:\/\/bucket\/hang .*(Timeout|Abort)/);
  });
});

type FakeS3 = { url: string; objects: Map<string, string>; close(): Promise<void> };

/** Answers GET as S3 does, path style: https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html */
async function startFakeS3(): Promise<FakeS3> {
  const objects = new Map<string, string>();
  const server = createServer((request: IncomingMessage, response: ServerResponse) => {
    const { pathname } = new URL(request.url ?? '/', 'http://s3');
    if (pathname.endsWith('/hang')) return;
    const text = objects.get(pathname);
    const code = pathname.endsWith('/forbidden') ? 'AccessDenied' : 'NoSuchKey';
    if (text === undefined) {
      response.writeHead(code === 'AccessDenied' ? 403 : 404, { 'content-type': 'application/xml' });
      response.end(`<?xml version="1.0"?><Error><Code>${code}</Code><Message>no</Message></Error>`);
    } else {
      response.writeHead(200, { 'content-type': 'text/plain' }).end(text);
    }
  });
  await listen(server);
  const { port } = server.address() as AddressInfo;
  const close = async (): Promise<void> => {
    server.closeAllConnections();
    await new Promise((done) => server.close(done));
  };
  return { url: `http://127.0.0.1:${port}`, objects, close };
}

async function listen(server: Server): Promise<void> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
}
