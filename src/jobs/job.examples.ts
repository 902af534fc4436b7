import { JobDefinition } from './job-definition.js';
import type { JobResponse } from './job.schema.js';

// What the documentation shows: the sample of the README, active.

export const INSTANCE_EXAMPLE = {
  id: 'i-0123456789abcdef0',
  privateIp: '10.0.1.23',
  publicIp: '203.0.113.7',
  availabilityZone: 'us-west-2a',
  type: 't3.small',
};

export const DEFINITION_EXAMPLE: JobDefinition = JobDefinition.parse({
  ports: [{ container: 80, host: 8081 }],
  health: { path: '/', port: 8081 },
});

const { instance: requestedInstance, ...definition } = DEFINITION_EXAMPLE;

export const JOB_EXAMPLE: JobResponse = {
  id: '6f1d1c9e-6a0e-4f7a-9a54-0d9f5f3f8f11',
  name: 'web',
  kind: 'service',
  status: 'running',
  desiredState: 'running',
  activeDeployment: 1,
  latestDeployment: 1,
  instance: INSTANCE_EXAMPLE,
  url: 'https://web.jobs.example.com',
  urlReason: null,
  privateUrl: 'https://web.jobs.example.com',
  hosts: [],
  endpoints: ['http://203.0.113.7:8081'],
  ...definition,
  requestedInstance,
  secrets: [],
  createdAt: '2026-05-04T09:30:00.000Z',
  updatedAt: '2026-05-04T09:30:00.000Z',
};

/** The response to a POST: nothing has happened yet. */
export const NEW_JOB_EXAMPLE: JobResponse = {
  ...JOB_EXAMPLE,
  status: 'deploying',
  activeDeployment: null,
  instance: null,
  endpoints: [],
};
