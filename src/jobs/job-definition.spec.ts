import { describe, expect, it } from '@jest/globals';
import '../http/wording.js';
import { bodyErrors } from '../http/validation-errors.js';
import { JobDefinition } from './job-definition.js';
import { CreateJob } from './job.schema.js';

describe('a job definition', () => {
  it('is complete once parsed, so that a snapshot keeps its meaning', () => {
    expect(JobDefinition.parse({})).toEqual({
      env: {},
      init: false,
      noNewPrivileges: false,
      ports: [],
      instance: {
        types: ['t3.small'],
        subnetIds: [],
        securityGroupIds: [],
        diskGiB: 30,
        market: 'on-demand',
        publicIp: true,
      },
      route: { holdSeconds: 10 },
      rollout: { stableSeconds: 5, drainSeconds: 10, stopGraceSeconds: 30, deadlineSeconds: 900 },
      onCapacity: { waitSeconds: 600 },
    });
  });

  it('survives being parsed again', () => {
    const once = JobDefinition.parse({ ports: [{ container: 1, host: 2 }], health: { port: 2 }, onCapacity: 'fail' });
    expect(JobDefinition.parse(once)).toEqual(once);
  });

  it('takes a number for the same port on both sides, and keeps it as a mapping', () => {
    const { ports } = JobDefinition.parse({ ports: [8080, { container: 80, host: 81 }] });
    expect(ports).toEqual([
      { container: 8080, host: 8080 },
      { container: 80, host: 81 },
    ]);
    const faultsOf = (value: unknown) => {
      const { error } = JobDefinition.safeParse({ ports: value });
      return bodyErrors(error?.issues ?? []).map((fault) =>
        'pointer' in fault ? `${fault.pointer} ${fault.detail}` : '',
      );
    };
    expect(faultsOf([80, { container: 8080, host: 80 }])).toEqual(['#/ports must not publish one host port twice']);
    expect(faultsOf([0])).toEqual([expect.stringMatching(/^#\/ports\/0 must be /)]);
    expect(faultsOf(['80'])).toEqual([expect.stringMatching(/^#\/ports\/0 must be /)]);
    expect(faultsOf([{ container: 80, host: 70_000 }])).toEqual([expect.stringMatching(/^#\/ports\/0\/host must be /)]);
    expect(faultsOf([{ container: 80 }])).toEqual([expect.stringMatching(/^#\/ports\/0\/host /)]);
    expect(faultsOf(Array.from({ length: 51 }, (_, n) => n + 1))).toHaveLength(1);
  });

  it('probes a port that is published', () => {
    const health = { port: 8080 };
    const refused = JobDefinition.safeParse({ ports: [{ container: 8080, host: 80 }], health });
    expect(refused.error?.issues).toMatchObject([{ path: ['health', 'port'] }]);
    expect(JobDefinition.safeParse({ ports: [{ container: 80, host: 8080 }], health }).success).toBe(true);
  });

  it('names the network that is none, or is written in another way than it is read', () => {
    const issuesOf = (allow: unknown[]) => JobDefinition.safeParse({ route: { allow } }).error?.issues;
    expect(JobDefinition.parse({ route: { allow: ['10.0.0.0/8', '2001:db8::/32'] } }).route).toEqual({
      holdSeconds: 10,
      allow: ['10.0.0.0/8', '2001:db8::/32'],
    });
    expect(JSON.stringify(issuesOf(['10.0.0.0/8', '10.0.0.1/8']))).toContain('must be written as 10.0.0.0/8');
    expect(issuesOf(Array.from({ length: 51 }, (_, n) => `10.0.${n}.0/24`))).toHaveLength(1);
    expect(issuesOf(Array.from({ length: 50 }, (_, n) => `10.0.${n}.0/24`))).toBeUndefined();
  });

  it.each([
    'Shop.example.com',
    'shop.example.com.',
    'shop.example.com:80',
    'http://shop.example.com',
    '*.example.com',
    'a_b.example.com',
    '-a.example.com',
    'a..b',
    '',
    '10.0.0.1',
    '1',
    'a.0x7f',
    'a.1',
    '[::1]',
    '::1',
    `${'a'.repeat(64)}.test`,
    `${'a.'.repeat(130)}test`,
  ])('takes %j for no host', (host) => {
    const { error } = JobDefinition.safeParse({ route: { hosts: ['shop.example.com', host] } });
    expect(JSON.stringify(error?.issues)).toMatch(/"path":\[("route",)?"hosts",1\]/);
  });

  it('names ten hosts of its own at most, each once', () => {
    const hosts = Array.from({ length: 10 }, (_, n) => `shop-${n}.example.com`);
    expect(JobDefinition.parse({ route: { hosts } }).route).toEqual({ holdSeconds: 10, hosts });
    for (const wrong of [
      [...hosts, 'a.test'],
      ['a.test', 'a.test'],
    ]) {
      expect(JobDefinition.safeParse({ route: { hosts: wrong } }).success).toBe(false);
    }
  });

  it.each(['\0', 'a\uD83D', '\uDE00b'])('takes no text that Postgres cannot keep: %j', (text) => {
    const message = 'must not contain a NUL character or half a surrogate pair';
    for (const [definition, path] of [
      [{ env: { A: text } }, ['env', 'A']],
      [{ command: ['run', text] }, ['command', 1]],
      [{ entrypoint: [text] }, ['entrypoint', 0]],
    ] as const) {
      expect(JobDefinition.safeParse(definition).error?.issues).toMatchObject([{ path, message }]);
    }
    expect(JobDefinition.safeParse({ env: { A: '\uD83D\uDE00' } }).success).toBe(true);
  });

  it('is small enough to be kept with every deployment', () => {
    const env = (bytes: number) => ({
      A: 'x'.repeat(bytes / 4),
      B: 'x'.repeat(bytes / 4),
      C: 'x'.repeat(bytes / 4),
      D: 'x'.repeat(bytes / 4),
    });
    expect(JobDefinition.safeParse({ env: env(120 * 1024) }).success).toBe(true);
    expect(JobDefinition.safeParse({ env: env(128 * 1024) }).error?.issues).toMatchObject([{ path: [] }]);
  });
});

describe('a new job', () => {
  it.each([
    [{ kind: 'task' }, ['kind'], 'tasks are not supported yet'],
    [{ kind: 'cron' }, ['kind'], 'must be service or task'],
    [{ secrets: { A: 1 } }, ['secrets', 'A'], 'must be a string'],
    [{ secrets: { A: 'a' }, env: { A: 'b' } }, ['secrets', 'A'], 'is in env as well: a variable has one value'],
    [{ schedule: '* * * * *' }, ['schedule'], 'tasks are not supported yet'],
    [{ name: 'Web' }, ['name'], 'must be a DNS label: a-z, 0-9 and inner hyphens'],
  ])('with %j is refused', (fields, path, message) => {
    expect(CreateJob.safeParse({ name: 'web', ...fields }).error?.issues).toMatchObject([{ path, message }]);
  });

  it.each(['a-.b/c', '9-rB.la-/q', `a/${'b'.repeat(300)}`, 'a'.repeat(64)])(
    'takes no image that could not be pulled: %s',
    (image) => {
      expect(CreateJob.safeParse({ name: 'web', image }).error?.issues).toMatchObject([
        { path: ['image'], message: expect.stringMatching(/^must |host of a registry/) },
      ]);
    },
  );

  it('is a service, and holds no field it was not given', () => {
    const { name, kind, secrets, ...definition } = CreateJob.parse({ name: 'web' });
    expect({ name, kind, secrets }).toEqual({ name: 'web', kind: 'service', secrets: {} });
    expect(definition).toEqual(JobDefinition.parse({}));
  });
});
