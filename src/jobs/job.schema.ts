import { z } from 'zod';
import { pageOf, pageQuery } from '../http/pagination.js';
import {
  checkTogether,
  definitionFields,
  ImageReference,
  Instance,
  type JobDefinition,
  JobName,
  Secrets,
  SecretsPatch,
} from './job-definition.js';
import { DESIRED_STATES, JOB_KINDS, JOB_STATUSES } from './job-status.js';
import { HOST_REASONS, type HostReason, URL_REASONS, type UrlReason } from './route-rules.js';
import { findSecretFaults, type SecretsPatch as SecretValuesPatch } from '../secrets/secret-values.js';
import { type MergePatch, mergePatchOf } from '../http/merge-patch.js';

// Requests and responses about jobs. Each schema is validation, type and documentation at once.

/** Known, but rejected: better than «is not a known field» for a field that the documentation announces. */
const notSupported = z
  .never({ error: 'tasks are not supported yet' })
  .optional()
  .meta({ description: 'tasks are not supported yet: leave it out.' });

const unsupportedFields = { timeoutSeconds: notSupported, retry: notSupported, schedule: notSupported };

const kind = z
  .enum(JOB_KINDS, { error: 'must be service or task' })
  .refine((value) => value !== 'task', 'tasks are not supported yet')
  .default('service')
  .meta({ description: '`service` is kept running; `task` (runs to its end) is not supported yet.' });

export const CreateJob = z
  .strictObject({
    name: JobName,
    kind,
    image: ImageReference.optional().meta({ description: 'With an image, deployment 1 is made at once.' }),
    ...unsupportedFields,
    ...definitionFields,
    secrets: Secrets.default({}),
  })
  .superRefine(({ secrets, ...definition }, context) => {
    checkTogether(definition, context);
    for (const { name, detail } of findSecretFaults(Object.keys(secrets), secrets, definition.env)) {
      const path = name === undefined ? ['secrets'] : ['secrets', name];
      context.addIssue({ code: 'custom', path, message: detail, input: undefined });
    }
  })
  .meta({
    id: 'CreateJob',
    examples: [
      {
        name: 'web',
        image: 'nginx:1.28-alpine',
        ports: [{ container: 80, host: 8081 }],
        health: { path: '/', port: 8081 },
      },
    ],
  });
export type CreateJob = JobDefinition & Pick<z.infer<typeof CreateJob>, 'name' | 'kind' | 'image' | 'secrets'>;

/** The definition's fields and the secrets, each optional and nullable; kind and name are rejected by name. */
export const definitionPatchFields = {
  ...mergePatchOf(z.object(definitionFields)).shape,
  secrets: SecretsPatch.optional(),
  ...unsupportedFields,
};
/** A patch of the definition, and one of the secrets. */
export type JobPatch = { readonly secrets?: SecretValuesPatch | undefined } & MergePatch;

export const secretNames = z
  .array(z.string())
  .meta({ description: 'Names of its secrets; their values are never returned.', examples: [['DATABASE_PASSWORD']] });

const immutable = (what: string) =>
  z
    .never({ error: 'cannot be changed: make another job' })
    .optional()
    .meta({ description: `The ${what} never changes.` });

export const JobPatch = z
  .strictObject({
    ...definitionPatchFields,
    name: immutable('name'),
    kind: immutable('kind'),
    image: z
      .never({ error: 'is not part of the definition: POST …/deployments runs another image' })
      .optional()
      .meta({ description: 'Not part of the definition: see `POST /v1/jobs/{name}/deployments`.' }),
  })
  .meta({
    id: 'JobPatch',
    description: 'JSON merge patch (RFC 7396) of the definition: null removes a field or gives it its default again.',
    examples: [{ env: { GREETING: 'two', DEBUG: null }, memoryMiB: 512 }],
  });

const deploymentNumber = z.int().min(1).nullable();
const time = z.iso.datetime();

export const AssignedInstance = z
  .object({
    id: z.string().meta({ description: 'EC2’s instance id.', examples: ['i-0123456789abcdef0'] }),
    privateIp: z.string().nullable(),
    publicIp: z.string().nullable(),
    availabilityZone: z.string().nullable(),
    type: z.string().nullable(),
  })
  .meta({ id: 'AssignedInstance', description: 'The EC2 instance, as last observed.' });
export type AssignedInstance = z.infer<typeof AssignedInstance>;

export const JobResponse = z
  .object({
    id: z.uuid(),
    name: JobName,
    kind: z.enum(JOB_KINDS),
    status: z.enum(JOB_STATUSES),
    desiredState: z.enum(DESIRED_STATES),
    activeDeployment: deploymentNumber.meta({ description: 'Number of the deployment that serves.' }),
    latestDeployment: deploymentNumber.meta({ description: 'Number of the newest deployment.' }),
    instance: AssignedInstance.nullable().meta({ description: 'The healthy instance of the active deployment.' }),
    url: z
      .url()
      .nullable()
      .meta({
        description:
          'The job’s address: it stays the same from its first deployment to its deletion. Null: `urlReason` says why.',
        examples: ['https://web.jobs.example.com'],
      }),
    urlReason: z
      .enum(Object.keys(URL_REASONS) as UrlReason[])
      .nullable()
      .meta({
        description: `Why \`url\` is null: ${Object.entries(URL_REASONS)
          .map(([reason, text]) => `\`${reason}\` (${text})`)
          .join(', ')}.`,
      }),
    privateUrl: z
      .url()
      .nullable()
      .meta({
        description:
          'Where other jobs call it: `url`, unless the operator has other names for that (JOBS_PRIVATE_URL). Null where `url` is.',
        examples: ['https://web.jobs.example.com'],
      }),
    hosts: z
      .array(
        z.object({
          host: z.string(),
          url: z.url().nullable(),
          reason: z
            .enum(Object.keys(HOST_REASONS) as HostReason[])
            .nullable()
            .meta({
              description: `Why it does not lead to the job: as in \`urlReason\`, also \`host-taken\` (${HOST_REASONS['host-taken']}) and \`host-not-allowed\` (${HOST_REASONS['host-not-allowed']}).`,
            }),
        }),
      )
      .meta({
        description: 'Its own hosts (`route.hosts`), and whether each leads to the job.',
        examples: [[{ host: 'shop.example.com', url: 'https://shop.example.com', reason: null }]],
      }),
    endpoints: z.array(z.string()).meta({
      description:
        'One for each published port, on the public address or else the private one: `tcp://…` where the container’s port is the usual one of another protocol than HTTP and no health check probes it. None where that address is loopback and the API’s is not.',
    }),
    ...z.object(definitionFields).omit({ instance: true }).shape,
    requestedInstance: Instance,
    secrets: secretNames,
    createdAt: time,
    updatedAt: time.meta({ description: 'Last change of the definition or the desired state.' }),
  })
  .meta({ id: 'Job' });
export type JobResponse = z.output<typeof JobResponse>;

export const JobPage = pageOf(JobResponse).meta({ id: 'JobPage' });

export const ListJobs = z.strictObject({
  ...pageQuery,
  status: z.enum(JOB_STATUSES).optional().meta({ description: 'Only jobs in this status.' }),
});
export type ListJobs = z.infer<typeof ListJobs>;

/** Longest parked request: proxies commonly cut an answer off after 60 s without a byte. */
const MAX_WAIT_SECONDS = 60;

export const waitSeconds = z.coerce
  .number()
  .int()
  .min(0)
  .max(MAX_WAIT_SECONDS)
  .default(0)
  .meta({ description: `Wait at most this long for \`until\`, then answer with the current state.` });

export const JOB_GOALS = ['settled', 'running', 'stopped', 'gone'] as const;
export type JobGoal = (typeof JOB_GOALS)[number];

export const WatchJob = z.strictObject({
  wait: waitSeconds,
  until: z.enum(JOB_GOALS).default('settled').meta({
    description:
      '`settled`: neither deploying nor deleting; `running`: neither deploying nor degraded: it serves, or never will by itself; `stopped`: nothing runs (`stopped`, `idle`, `failed` or `succeeded`); `gone`: deleted; the API answers 404 `job-not-found`, which means success here, or 200 while the job still exists.',
  }),
});
export type WatchJob = z.infer<typeof WatchJob>;
