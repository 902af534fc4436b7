import { describe, expect, it } from '@jest/globals';
import { JobDefinition } from '../jobs/job-definition.js';
import {
  createRequest,
  imageInspectRequest,
  pullRequest,
  registryOfPull,
  restartPolicyRequest,
  stopRequest,
  waitRequest,
} from './container-spec.js';

const HEX = 'a'.repeat(64);
const DIGEST = `sha256:${HEX}`;
const owner = { cluster: 'test', job: 'web', deploymentId: 'd-3', deployment: 3, attempt: 2 };

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
      init: true,
      noNewPrivileges: true,
      rollout: { stopGraceSeconds: 7 },
    });
    expect(createRequest(definition, `nginx@${DIGEST}`, owner)).toEqual({
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
          'scheduler.deployment-id': 'd-3',
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
          PidsLimit: 4096,
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
    expect(body?.HostConfig).not.toHaveProperty('Init');
    expect(body?.HostConfig).not.toHaveProperty('SecurityOpt');
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
