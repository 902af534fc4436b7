import { describe, expect, it } from '@jest/globals';
import { JobDefinition } from './job-definition.js';
import { createJobView, type JobRow } from './job-view.js';

it.each([
  ['http://127.0.0.1:3000', '127.91.0.4', null, ['http://127.91.0.4:8081']],
  ['http://[::1]:3000', '127.91.0.4', null, ['http://127.91.0.4:8081']],
  ['http://nginx', '127.91.0.4', null, []],
  ['http://nginx', '127.91.0.4', '127.91.32.1', []],
  ['http://nginx', '10.0.0.4', null, ['http://10.0.0.4:8081']],
  ['https://scheduler.test', '10.0.0.4', '203.0.113.7', ['http://203.0.113.7:8081']],
])(
  'a job of the API at %s on an instance at %s, %s has the endpoints %j',
  (publicUrl, privateIp, publicIp, expected) => {
    expect(createJobView(publicUrl, undefined)(rowOf(privateIp, publicIp)).endpoints).toEqual(expected);
  },
);

describe('the hosts of a job', () => {
  const ADDRESSES = {
    ...({ scheme: 'https:', domain: 'jobs.test', port: ':8443' } as const),
    private: { scheme: 'http:', domain: 'jobs.internal', port: '' } as const,
    hostRules: { domains: ['own.test'], reserved: ['api.own.test'] },
  };
  const PORTS = [{ container: 80, host: 8081 }];
  const A = 'a.own.test';
  const route = { holdSeconds: 10, hosts: [A] };
  const viewOf = (row: Partial<JobRow>, addresses: typeof ADDRESSES | undefined = ADDRESSES) => {
    const definition = JobDefinition.parse({ ports: PORTS, route });
    const { url, urlReason, hosts } = createJobView(
      'http://127.0.0.1:3000',
      addresses,
    )({
      ...rowOf('127.0.0.2', null),
      ...{ definition, activeRoute: route, hosts: ['web.jobs.test', A] },
      ...row,
    });
    return [url ?? urlReason, ...hosts.map(({ host, url: at, reason }) => `${host} ${at ?? reason}`)];
  };
  const WEB = 'https://web.jobs.test:8443';

  it('are there with a URL each, beside that of its name', () => {
    expect(viewOf({})).toEqual([WEB, `${A} https://a.own.test:8443`]);
    expect(viewOf({ hosts: ['web.jobs.test', A, 'old.own.test'] })).toEqual([
      ...[WEB, `${A} https://a.own.test:8443`],
      'old.own.test https://old.own.test:8443',
    ]);
  });

  it('come with another URL for callers among the jobs, where the name has one at all', () => {
    const view = createJobView('http://127.0.0.1:3000', ADDRESSES);
    const row = rowOf('127.0.0.2', null);
    const definition = JobDefinition.parse({ ports: PORTS });
    expect(view({ ...row, definition, activeRoute: route, hosts: ['web.jobs.test'] })).toMatchObject({
      url: WEB,
      privateUrl: 'http://web.jobs.internal',
    });
    expect(view({ ...row, definition, activeRoute: route })).toMatchObject({ url: null, privateUrl: null });
    expect(createJobView('http://127.0.0.1:3000', undefined)(row)).toMatchObject({ url: null, privateUrl: null });
  });

  it.each<[string, Partial<JobRow>, string]>([
    ['another job has it', { othersHosts: { [A]: 'taken' } }, 'host-taken'],
    ['it was another job’s just now', { othersHosts: { [A]: 'leaving' } }, 'host-still-draining'],
    ['what serves does not name it', { activeRoute: { holdSeconds: 10 } }, 'next-deployment'],
    ['the job is being deleted', { hosts: [], status: 'deleting' }, 'deleting'],
    ['there is no deployment', { activeNumber: null, deploymentCount: 0, status: 'idle' }, 'not-deployed'],
    ['none ever served', { activeNumber: null, activeRoute: null, status: 'failed' }, 'next-deployment'],
    ['no port is published', { definition: JobDefinition.parse({ route }) }, 'no-ports'],
    [
      'the operator allows it no more',
      { definition: JobDefinition.parse({ ports: PORTS, route: { hosts: ['a.other.test'] } }) },
      'host-not-allowed',
    ],
  ])('say so where %s', (_, row, reason) => {
    expect(viewOf({ hosts: ['web.jobs.test'], ...row }).at(-1)).toMatch(new RegExp(` ${reason}$`));
  });

  it('are given by the next pass where they are wanted and free', () => {
    expect(viewOf({ hosts: ['web.jobs.test'] })).toEqual([WEB, `${A} https://a.own.test:8443`]);
    const first = { activeNumber: null, activeRoute: null, status: 'deploying' as const, hosts: [] };
    expect(viewOf(first)).toEqual([WEB, `${A} https://a.own.test:8443`]);
    expect(viewOf({ ...first, name: 'web--7' })).toEqual(['reserved-name', `${A} https://a.own.test:8443`]);
  });

  it.each([
    ['asked', WEB],
    ['nothing', 'route-unreachable'],
    ['other', 'not-http'],
    ['http', 'host-still-draining'],
    [null, 'host-still-draining'],
  ] as const)(
    'beside its name, which it does not have yet: what was found at the port is %s, so that it says %s',
    (reachedAs, said) => {
      expect(viewOf({ hosts: [], definition: JobDefinition.parse({ ports: PORTS }), reachedAs })).toEqual([said]);
    },
  );

  it('of its name, as its hosts, are no longer its own while it is being deleted', () => {
    expect(viewOf({ hosts: [], status: 'deleting' })).toEqual(['deleting', `${A} deleting`]);
  });

  it('of its name wait for the next deployment where what serves has none by what it says', () => {
    const definition = JobDefinition.parse({ ports: [...PORTS, { container: 81, host: 81 }], route: { port: 81 } });
    const activePorts = definition.ports;
    expect(viewOf({ definition, hosts: [], activePorts, activeRoute: { holdSeconds: 10 } })).toEqual([
      'next-deployment',
    ]);
  });

  it('are not the name of the job, whoever has that', () => {
    expect(viewOf({ hosts: [A] })).toEqual(['host-still-draining', `${A} https://a.own.test:8443`]);
    const definition = JobDefinition.parse({ ports: PORTS, route: { hosts: ['web.jobs.test'] } });
    expect(viewOf({ definition, hosts: ['web.jobs.test'] })).toEqual([WEB]);
  });
});

function rowOf(privateIp: string, publicIp: string | null): JobRow {
  const at = new Date();
  return {
    id: 'id',
    name: 'web',
    kind: 'service',
    definition: { instance: {} } as JobRow['definition'],
    desiredState: 'running',
    status: 'running',
    version: 1,
    deploymentCount: 1,
    secretNames: [],
    createdAt: at,
    updatedAt: at,
    activeNumber: 1,
    activePorts: [{ container: 80, host: 8081 }],
    activeHealthPort: null,
    activeRoute: null,
    hosts: [],
    othersHosts: null,
    reachedAs: null,
    instanceId: 'i-0',
    privateIp,
    publicIp,
    availabilityZone: null,
    instanceType: null,
  };
}
