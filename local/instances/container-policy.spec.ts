import { describe, expect, it } from '@jest/globals';
import { createRequest } from '../../src/docker/container-spec.ts';
import { JobDefinition } from '../../src/jobs/job-definition.ts';
import { rewriteCreate, rule } from './container-policy.ts';

const owner = { cloudId: 'c1', instanceId: 'i-1', address: '127.1.2.3' };

describe('rule', () => {
  it.each([
    ['POST', '/containers/job/start', '/containers/c1-i-1-job/start'],
    ['POST', '/v1.43/containers/job/wait?condition=next-exit', '/v1.43/containers/c1-i-1-job/wait?condition=next-exit'],
    ['GET', '/containers/job/logs?stdout=1', '/containers/c1-i-1-job/logs?stdout=1'],
    ['DELETE', '/containers/job?force=1', '/containers/c1-i-1-job?force=1'],
    ['GET', '/images/team/app:1/json', '/images/team/app:1/json'],
    ['GET', '/_ping', '/_ping'],
    // What looks like an id becomes a name of this instance's own, which no other instance has.
    ['GET', '/containers/0123456789ab/json', '/containers/c1-i-1-0123456789ab/json'],
  ])('forwards %s %s', (method, path, forwarded) => {
    expect(rule(method, path, owner)).toEqual({ kind: 'forward', path: forwarded });
  });

  it.each([
    ['GET', '/containers/json'],
    ['POST', '/containers/job/exec'],
    ['POST', '/exec/1/start'],
    ['POST', '/containers/prune'],
    ['DELETE', '/containers/..%2Fother'],
    ['POST', '/containers/job/../other/start'],
    ['PUT', '/containers/job/archive'],
    ['GET', '/containers/job/export'],
    ['POST', '/containers/create'],
    ['POST', '/containers/create?name=a%2Fb'],
    ['POST', '/images/create?fromSrc=-'],
    ['POST', '/images/create?fromImage=x&fromSrc=http://y'],
    ['DELETE', '/images/x'],
    ['POST', '/build'],
    ['POST', '/volumes/create'],
    ['GET', '/info'],
    ['GET', '/events'],
    ['POST', '/swarm/init'],
    ['POST', '/v1.23/containers/job/start'],
  ])('refuses %s %s', (method, path) => {
    const ruling = rule(method, path, owner);
    // A path that climbs is normalised first: what is left must still be this instance's.
    if (ruling.kind === 'forward') expect(ruling.path).toBe('/containers/c1-i-1-other/start');
    else expect(ruling.kind).toBe('refuse');
  });

  it.each([
    ['/images/create?fromImage=team%2Fapp&tag=1', 'team/app:1'],
    ['/images/create?fromImage=app&tag=sha256%3Aab', 'app@sha256:ab'],
    ['/images/create?fromImage=app', 'app'],
  ])('knows the image of %s', (path, reference) => {
    expect(rule('POST', path, owner)).toEqual({ kind: 'pull', path, reference });
  });
});

describe('rewriteCreate', () => {
  const body = {
    Image: 'x',
    Labels: { a: 'b' },
    HostConfig: {
      PortBindings: {
        '80/tcp': [
          { HostIp: '', HostPort: '80' },
          { HostIp: '0.0.0.0', HostPort: '81' },
        ],
      },
      Memory: 1,
      NetworkMode: 'bridge',
      SecurityOpt: ['no-new-privileges'],
    },
  };

  it('publishes on the address of the instance and labels', () => {
    expect(rewriteCreate(body, owner)).toEqual({
      ...body,
      Labels: { a: 'b', 'scheduler-local.cloud': 'c1', 'scheduler-local.instance': 'i-1' },
      HostConfig: {
        ...body.HostConfig,
        PortBindings: {
          '80/tcp': [
            { HostIp: '127.1.2.3', HostPort: '80' },
            { HostIp: '127.1.2.3', HostPort: '81' },
          ],
        },
      },
    });
  });

  it.each([
    { Privileged: true },
    { Binds: ['/:/host'] },
    { Mounts: [] },
    { NetworkMode: 'host' },
    { NetworkMode: 'container:x' },
    { PidMode: 'host' },
    { CapAdd: ['ALL'] },
    { Devices: [] },
    { SecurityOpt: ['seccomp=unconfined'] },
    { PublishAllPorts: true },
  ])('refuses HostConfig %j', (hostConfig) => {
    expect(rewriteCreate({ Image: 'x', HostConfig: hostConfig }, owner)).toMatch(/^HostConfig\./);
    expect(rewriteCreate(undefined, owner)).toBe('the body must be a JSON object');
  });

  it.each([
    { NetworkingConfig: { EndpointsConfig: { 'developers-network': {} } } },
    { Volumes: { '/data': {} } },
    { MacAddress: '02:42:ac:11:00:02' },
    // The engine ignores upper and lower case of names.
    { hostconfig: { Privileged: true } },
  ])('refuses what the scheduler’s containers do not have: %j', (more) => {
    expect(rewriteCreate({ Image: 'x', HostConfig: {}, ...more }, owner)).toMatch(/^\w+ is not for instances$/);
  });

  it('publishes on no other address under a name that is the same to the engine', () => {
    const hostConfig = { PortBindings: { '80/tcp': [{ HostIp: '', hostip: '0.0.0.0', HostPort: '80' }] } };
    expect(rewriteCreate({ Image: 'x', HostConfig: hostConfig }, owner)).toMatchObject({
      HostConfig: { PortBindings: { '80/tcp': [{ HostIp: '127.1.2.3', HostPort: '80' }] } },
    });
    expect(JSON.stringify(rewriteCreate({ Image: 'x', HostConfig: hostConfig }, owner))).not.toContain('0.0.0.0');
  });

  it('has the hosts file of the local cloud, and none of the guest’s', () => {
    const hosts = ['web.jobs.internal:172.17.0.1'];
    expect(rewriteCreate(body, owner, hosts)).toMatchObject({ HostConfig: { ExtraHosts: hosts } });
    const own = { Image: 'x', HostConfig: { ExtraHosts: ['example.com:127.0.0.1'] } };
    expect(rewriteCreate(own, owner, hosts)).toBe('HostConfig.ExtraHosts is not for instances');
  });

  it('takes what the scheduler makes', () => {
    const definition = JobDefinition.parse({
      ...{ command: ['a'], entrypoint: ['b'], env: { A: 'b' }, ports: [{ container: 80, host: 8080 }] },
      ...{ memoryMiB: 64, cpus: 1, init: true, noNewPrivileges: true },
    });
    const labelled = { cluster: 'c', job: 'web', deploymentId: 'd', deployment: 1, attempt: 1 };
    const { body: made } = createRequest(definition, 'web:1', labelled);
    const PortBindings = { '80/tcp': [{ HostIp: '127.1.2.3', HostPort: '8080' }] };
    expect(rewriteCreate(made, owner)).toMatchObject({ Image: 'web:1', HostConfig: { PortBindings } });
  });
});
