import { DEFINITION_EXAMPLE, INSTANCE_EXAMPLE } from '../jobs/job.examples.js';
import type { DeploymentResponse } from './deployment.schema.js';

// What the documentation shows: the same sample as the examples of jobs.

/** The response to a POST. */
export const NEW_DEPLOYMENT_EXAMPLE: DeploymentResponse = {
  id: '0b8e6d0c-3f0f-4a37-8d4c-6f4e1f7f0c55',
  job: 'web',
  number: 1,
  image: 'nginx:1.28-alpine',
  imageDigest: null,
  trigger: 'api',
  copiedFrom: null,
  status: 'queued',
  reason: null,
  message: null,
  failedPhase: null,
  retryable: null,
  exitCode: null,
  lastLogLines: null,
  attempt: null,
  phase: null,
  phases: {},
  instance: null,
  definition: DEFINITION_EXAMPLE,
  secrets: [],
  secretsVersion: null,
  createdAt: '2026-05-04T09:30:00.000Z',
  startedAt: null,
  activeAt: null,
  endedAt: null,
  deadlineAt: '2026-05-04T09:45:00.000Z',
  cancelRequestedAt: null,
};

export const DEPLOYMENT_EXAMPLE: DeploymentResponse = {
  ...NEW_DEPLOYMENT_EXAMPLE,
  imageDigest: 'nginx@sha256:9b1f3d2e7c6a5b4d3e2f1a0b9c8d7e6f5a4b3c2d1e0f9a8b7c6d5e4f3a2b1c0d',
  status: 'active',
  attempt: 1,
  phase: 'healthy',
  phases: { waiting: 21_400, assigned: 40, pulling: 6_210, starting: 1_730, healthy: 61_000 },
  instance: INSTANCE_EXAMPLE,
  startedAt: '2026-05-04T09:30:00.012Z',
  activeAt: '2026-05-04T09:30:34.410Z',
  deadlineAt: null,
};
