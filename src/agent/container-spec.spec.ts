import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { JobDefinition } from '../jobs/job-definition.js';
import {
  createRequest,
  imageInspectRequest,
  parseError,
  parseImageInspect,
  parseInspect,
  parsePull,
  parseWait,
  pullRequest,
  registryOfPull,
  restartPolicyRequest,
  stopRequest,
  waitRequest,
  withoutEnvironment,
} from './container-spec.js';

const HEX = 'a'.repeat(64);
const DIGEST = `sha256:${HEX}`;
const owner = { cluster: 'test', job: 'web', deployment: 3 };

describe('requests', () => {
  it('pull by tag and by digest', () => {
    expect(pullRequest('r.io:5000/a/b:1')).toEqual({
      method: 'POST',
      path: '/images/create?fromImage=r.io%3A5000%2Fa%2Fb&tag=1',
    });
    expect(pullRequest(`nginx:1@${DIGEST}`).path).toBe(`/images/create?fromImage=nginx&tag=sha256%3A${HEX}`);
    expect(imageInspectRequest('team/app').path).toBe('/images/team/app:latest/json');
  });

  it.each(['localhost:5000/a', 'r.example.com:5000/a/b_c/d--e:T_1.x', `Registry/x:1@${DIGEST}`])(
    'ask for %s by a path that agents take',
    (image) => {
      for (const { path } of [pullRequest(image), imageInspectRequest(image)]) {
        expect(path).toMatch(/^\/[A-Za-z0-9/._~%?&=:,+@-]*$/);
      }
    },
  );

  it('creates the whole container from a definition', () => {
    const definition = JobDefinition.parse({
      command: ['node', '-e', '$(x) "quoted"'],
      entrypoint: ['/init'],
      env: { GREETING: 'two=2\nlines', EMPTY: '' },
      ports: [
        { container: 8080, host: 80 },
        { container: 8080, host: 81 },
        { container: 9000, host: 9000 },
      ],
      memoryMiB: 64,
      cpus: 0.1,
      rollout: { stopGraceSeconds: 7 },
    });
    expect(createRequest(definition, `nginx@${DIGEST}`, { ...owner, attempt: 2 })).toEqual({
      method: 'POST',
      path: '/containers/create?name=job',
      body: {
        Image: `nginx@${DIGEST}`,
        Cmd: ['node', '-e', '$(x) "quoted"'],
        Entrypoint: ['/init'],
        Env: ['GREETING=two=2\nlines', 'EMPTY='],
        ExposedPorts: { '8080/tcp': {}, '9000/tcp': {} },
        Labels: {
          'scheduler.cluster': 'test',
          'scheduler.job': 'web',
          'scheduler.deployment': '3',
          'scheduler.attempt': '2',
        },
        StopTimeout: 7,
        HostConfig: {
          PortBindings: {
            '8080/tcp': [
              { HostIp: '', HostPort: '80' },
              { HostIp: '', HostPort: '81' },
            ],
            '9000/tcp': [{ HostIp: '', HostPort: '9000' }],
          },
          Memory: 67_108_864,
          NanoCpus: 100_000_000,
          RestartPolicy: { Name: 'no' },
          LogConfig: { Type: 'json-file', Config: { 'max-size': '10m', 'max-file': '3' } },
          Init: true,
          NetworkMode: 'bridge',
          SecurityOpt: ['no-new-privileges'],
        },
      },
    });
  });

  it('leaves to the image and the engine what the definition does not say', () => {
    const { body } = createRequest(JobDefinition.parse({}), 'nginx', owner);
    expect(body).not.toHaveProperty('Cmd');
    expect(body).not.toHaveProperty('Entrypoint');
    expect(body?.HostConfig).not.toHaveProperty('Memory');
    expect(body?.HostConfig).not.toHaveProperty('NanoCpus');
    expect(body?.Image).toBe('nginx:latest');
  });

  it('addresses the one container by its fixed name', () => {
    expect(waitRequest('next-exit').path).toBe('/containers/job/wait?condition=next-exit');
    expect(stopRequest(30)).toEqual({ method: 'POST', path: '/containers/job/stop?t=30' });
    expect(restartPolicyRequest('unless-stopped').body).toEqual({ RestartPolicy: { Name: 'unless-stopped' } });
  });
});

describe('parsePull', () => {
  it.each([
    [
      '{"status":"Pulling from library/nginx","id":"1"}\r\n{"status":"Status: Downloaded newer image"}\r\n',
      { ok: true },
    ],
    ['rtial line"}\n{"status":"Digest: sha256:1"}\n', { ok: true }],
    [
      '{"status":"Pulling"}\n{"errorDetail":{"message":"manifest for x:1 not found: manifest unknown"},"error":"e"}\n',
      { ok: false, kind: 'not-found', message: 'manifest for x:1 not found: manifest unknown' },
    ],
    [
      `{"message":"pull access denied for x, repository does not exist or may require 'docker login'"}`,
      {
        ok: false,
        kind: 'not-found',
        message: `pull access denied for x, repository does not exist or may require 'docker login'`,
      },
    ],
    [
      '{"message":"unauthorized: authentication required"}\n',
      { ok: false, kind: 'unauthorized', message: 'unauthorized: authentication required' },
    ],
    [
      '{"error":"write /var/lib/docker: no space left on device"}',
      { ok: false, kind: 'other', message: 'write /var/lib/docker: no space left on device' },
    ],
  ])('%j', (body, expected) => {
    expect(parsePull(body)).toEqual(expected);
    expect(parsePull(new TextEncoder().encode(body))).toEqual(expected);
  });
});

describe('answers', () => {
  it('reads an image', () => {
    const body = JSON.stringify({
      Id: 'sha256:1',
      RepoDigests: ['mirror/nginx@sha256:2', 'nginx@sha256:3'],
      Config: { ExposedPorts: { '80/tcp': {}, '53/udp': {} } },
    });
    expect(parseImageInspect(body, 'nginx')).toEqual({
      id: 'sha256:1',
      digest: 'sha256:3',
      exposedPorts: [
        { port: 80, protocol: 'tcp' },
        { port: 53, protocol: 'udp' },
      ],
    });
    expect(parseImageInspect('{"Id":"sha256:1","RepoDigests":null,"Config":{}}')).toEqual({
      id: 'sha256:1',
      exposedPorts: [],
    });
  });

  it('reads an exit and a state', () => {
    expect(parseWait('{"StatusCode":3}')).toEqual({ exitCode: 3 });
    expect(parseWait('{"StatusCode":125,"Error":{"Message":"no such file"}}')).toEqual({
      exitCode: 125,
      error: 'no such file',
    });
    const state = { Status: 'exited', Running: false, ExitCode: 137, OOMKilled: true, Error: '' };
    const times = { StartedAt: '2026-01-05T10:00:00.5Z', FinishedAt: '0001-01-01T00:00:00Z' };
    const bindings = [
      { HostIp: '0.0.0.0', HostPort: '80' },
      { HostIp: '::', HostPort: '80' },
    ];
    const NetworkSettings = { Ports: { '8080/tcp': bindings, '9000/tcp': null } };
    const answer = { Id: 'c', RestartCount: 2, State: { ...state, ...times }, NetworkSettings };
    expect(parseInspect(JSON.stringify(answer))).toEqual({
      id: 'c',
      status: 'exited',
      isRunning: false,
      exitCode: 137,
      isOutOfMemory: true,
      restartCount: 2,
      ports: [{ container: 8080, host: 80 }],
      startedAt: '2026-01-05T10:00:00.5Z',
    });
    expect(parseError('{"message":"No such container: job"}\n')).toBe('No such container: job');
  });

  it('answers undefined for anything else', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.json(), fc.uint8Array()), (body) => {
        const wait = parseWait(body);
        expect(wait === undefined || typeof wait.exitCode === 'number').toBe(true);
        expect(() => [parseInspect(body), parseImageInspect(body), parseError(body), parsePull(body)]).not.toThrow();
      }),
    );
  });
});

describe('the registry of a pull', () => {
  it.each([
    ['nginx', 'docker.io'],
    ['team/app:1', 'docker.io'],
    ['index.docker.io/team/app', 'docker.io'],
    ['registry.example.com/app', 'registry.example.com'],
    ['127.0.0.1:5000/team/app:1', '127.0.0.1:5000'],
    ['localhost/app', 'localhost'],
  ])('of %s is %s', (image, host) => {
    expect(registryOfPull(pullRequest(image).path)).toBe(host);
  });
});

describe('an answer about a container', () => {
  const strip = (body: string) => new TextDecoder().decode(withoutEnvironment(new TextEncoder().encode(body)));

  it('loses the environment and nothing else', () => {
    const answer = { Id: 'c1', State: { Running: true }, Config: { Image: 'web:1', Env: ['A=hush'] } };
    const left = JSON.parse(strip(JSON.stringify(answer))) as unknown;
    expect(left).toEqual({ ...answer, Config: { Image: 'web:1' } });
  });

  it.each(['', '{"message":"No such container: job"}'])('stays as it is without one: %s', (body) => {
    expect(strip(body)).toBe(body);
  });

  it.each(['ush"],"Image":"web:1"}}', '{"Config":{"Env":["A=hush"', '["Env"'])('is dropped when cut: %s', (body) => {
    expect(strip(body)).toBe('');
  });
});
