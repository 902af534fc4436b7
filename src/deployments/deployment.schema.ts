import { z } from 'zod';
import { pageOf, pageQuery } from '../http/pagination.js';
import { ImageReference, JobDefinition } from '../jobs/job-definition.js';
import {
  AssignedInstance,
  definitionPatchFields,
  type JobPatch,
  secretNames,
  waitSeconds,
} from '../jobs/job.schema.js';
import { ATTEMPT_PHASES } from './attempt-status.js';
import { DEPLOYMENT_STATUSES, DEPLOYMENT_TRIGGERS } from './deployment-status.js';

// Requests and responses about deployments. Each schema is validation, type and documentation at once.

const number = z.int().min(1);
const time = z.iso.datetime();

export const CreateDeployment = z
  .strictObject({
    image: ImageReference.optional().meta({ description: 'Default: the image of the latest deployment.' }),
    ...definitionPatchFields,
  })
  .prefault({})
  .meta({
    id: 'CreateDeployment',
    description:
      'An image, and overrides of the job’s definition for this deployment only: a JSON merge patch, null gives a field its default again.',
    examples: [{ image: 'nginx:1.29', env: { GREETING: 'two' } }],
  });
export type CreateDeployment = { readonly image?: string | undefined } & JobPatch;

export const Rollback = z
  .strictObject({
    to: number.max(2_147_483_647).optional().meta({
      description:
        'Number of a deployment that was active once. Default: the newest such one older than the active one, if no newer one was to replace that.',
    }),
  })
  .prefault({})
  .meta({ id: 'Rollback', examples: [{}, { to: 1 }] });
export type Rollback = z.infer<typeof Rollback>;

export const Adopt = z
  .strictObject({
    instance: z
      .string()
      .regex(/^i-[0-9a-f]{8,17}$/, 'must be an instance id like i-0123456789abcdef0')
      .meta({ description: 'EC2’s id of an instance in quarantine.' }),
    image: ImageReference.optional().meta({
      description: 'Image its container runs. Default: that of the latest deployment.',
    }),
  })
  .meta({ id: 'Adopt', examples: [{ instance: 'i-0a1b2c3d4e5f60718', image: 'nginx:1.28' }] });
export type Adopt = z.infer<typeof Adopt>;

/** Milliseconds of the latest attempt, the current phase up to now. */
const PhaseDurations = z
  .partialRecord(z.enum(ATTEMPT_PHASES).exclude(['ended']), z.int().min(0))
  .meta({ description: 'Milliseconds the latest attempt spent in each phase, up to now in the current one.' });

const LogLine = z.object({
  stream: z.enum(['stdout', 'stderr']),
  time: z.string().optional().meta({ description: 'As Docker recorded it, RFC 3339.' }),
  line: z.string(),
});

export const DeploymentResponse = z
  .object({
    id: z.uuid(),
    job: z.string().meta({ description: 'Name of the job.' }),
    number,
    image: z.string(),
    imageDigest: z.string().nullable().meta({
      description:
        'What the image was resolved to: `name@sha256:…`; of an image that no registry has by this name, its id `sha256:…`.',
    }),
    trigger: z.enum(DEPLOYMENT_TRIGGERS),
    copiedFrom: number.nullable().meta({ description: 'The deployment a rollback, restart or start repeats.' }),
    status: z.enum(DEPLOYMENT_STATUSES),
    reason: z.string().nullable().meta({ description: 'Why it has this status: a kebab-case code.' }),
    message: z.string().nullable().meta({ description: 'The reason as text for people.' }),
    failedPhase: z.enum(ATTEMPT_PHASES).nullable().meta({ description: 'Phase in which it failed.' }),
    retryable: z.boolean().nullable().meta({ description: 'Whether the same deployment might succeed another time.' }),
    exitCode: z.int().nullable(),
    lastLogLines: z.array(LogLine).nullable().meta({ description: 'Last lines printed before it failed.' }),
    attempt: number.nullable().meta({ description: 'Number of the latest attempt.' }),
    phase: z.enum(ATTEMPT_PHASES).nullable().meta({ description: 'Phase of the latest attempt.' }),
    phases: PhaseDurations,
    instance: AssignedInstance.nullable().meta({ description: 'Instance of the latest attempt.' }),
    definition: JobDefinition.meta({ id: 'DeploymentDefinition', description: 'Snapshot of what it runs with.' }),
    secrets: secretNames,
    secretsVersion: number.nullable().meta({ description: 'Version of its job’s secrets that every attempt gets.' }),
    createdAt: time,
    startedAt: time.nullable().meta({ description: 'First attempt.' }),
    activeAt: time.nullable(),
    endedAt: time.nullable(),
    deadlineAt: time
      .nullable()
      .meta({ description: 'Before active: when it fails. Draining: when the container is stopped.' }),
    cancelRequestedAt: time.nullable(),
  })
  .meta({ id: 'Deployment' });
export type DeploymentResponse = z.output<typeof DeploymentResponse>;

export const DeploymentPage = pageOf(DeploymentResponse).meta({ id: 'DeploymentPage' });

export const ListDeployments = z.strictObject(pageQuery);
export type ListDeployments = z.infer<typeof ListDeployments>;

export const DeploymentNumber = z.coerce
  .number()
  .int()
  .min(1)
  .max(2_147_483_647)
  .meta({ description: 'Number of the deployment.', examples: [1] });

export const DEPLOYMENT_GOALS = ['settled', 'active', 'ended'] as const;
export type DeploymentGoal = (typeof DEPLOYMENT_GOALS)[number];

export const WatchDeployment = z.strictObject({
  wait: waitSeconds,
  until: z.enum(DEPLOYMENT_GOALS).default('settled').meta({
    description:
      '`settled`: neither queued nor deploying any more; `active`: active or past it, however it ended; `ended`: in its last status.',
  }),
});
export type WatchDeployment = z.infer<typeof WatchDeployment>;
