import { expect, it } from '@jest/globals';
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
    host: null,
    reachedAs: null,
    instanceId: 'i-0',
    privateIp,
    publicIp,
    availabilityZone: null,
    instanceType: null,
  };
}
