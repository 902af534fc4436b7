import { z } from 'zod';
import { HOST_NAME, isHostName } from '../config/host-name.js';
import { faultOfImage, isImageReference } from './image-reference.js';
import { faultOfNetwork } from './networks.js';

// What should run, as the user defines it. One Zod schema is validation, type and documentation at once. Defaults are
// applied when a job is stored, so that a snapshot keeps its meaning when a later version changes a default.

const seconds = (min: number, max: number) => z.int().min(min).max(max);
const port = z.int().min(1).max(65535);

export const JobName = z
  .string()
  .min(1)
  .max(63)
  .regex(/^[a-z0-9]([-a-z0-9]*[a-z0-9])?$/, 'must be a DNS label: a-z, 0-9 and inner hyphens')
  .meta({ description: 'DNS label, unique among living jobs.', examples: ['web'] });

export const ImageReference = z
  .string()
  .min(1)
  .max(512)
  .regex(
    /^(?:[a-zA-Z0-9][a-zA-Z0-9.-]*(?::\d{1,5})?\/)?[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:\/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*(?::[\w][\w.-]{0,127})?(?:@sha256:[a-f0-9]{64})?$/,
    { error: ({ input }) => faultOfImage(String(input)) ?? 'must be a name that Docker accepts', abort: true },
  )
  // The expression is for readers of the documentation: it checks neither the host nor the length of a name.
  .refine(isImageReference, {
    error: ({ input }) => faultOfImage(String(input)) ?? 'must be a name that Docker accepts',
  })
  .meta({ description: 'Docker image reference.', examples: ['nginx:1.28'] });

/** As Docker has it: images read variables like `discovery.type`, which no shell can set. */
const VariableName = z
  .string()
  .min(1, 'must not be empty')
  .max(256, 'must have at most 256 characters')
  .regex(/^[^=]*$/, 'must not contain «=»: any other character except NUL is allowed')
  .refine(isStorable, 'must not contain a NUL character or half a surrogate pair');
const VariableValue = z
  .string()
  .max(32_768)
  .refine(isStorable, 'must not contain a NUL character or half a surrogate pair');

const Environment = z
  .record(VariableName, VariableValue)
  .refine((env) => Object.keys(env).length <= 200, 'must have at most 200 entries')
  .meta({
    description:
      'Environment of the container; visible in answers. Names as Docker accepts them: not empty, any character except `=` and NUL.',
    examples: [{ GREETING: 'one' }],
  });

const SECRETS = {
  description:
    'More of the container’s environment, kept encrypted: answers contain the names only. No name may be in `env` as well.',
  examples: [{ DATABASE_PASSWORD: '…' }],
};

/** Not a part of the definition, which is stored and returned in the clear. */
export const Secrets = z.record(VariableName, VariableValue).meta(SECRETS);

export const SecretsPatch = z.record(VariableName, VariableValue.nullable()).nullable().meta(SECRETS);

const Arguments = z
  .array(z.string().max(8192).refine(isStorable, 'must not contain a NUL character or half a surrogate pair'))
  .max(100);

const PortMapping = z.strictObject({
  container: port.meta({ description: 'Port the process in the container listens on.' }),
  host: port.meta({ description: 'Port of the instance it is published on.' }),
});

/** Stored and shown as mappings. */
const Ports = z
  .array(z.union([port, PortMapping]))
  .max(50)
  .transform((ports) => ports.map((one) => (typeof one === 'number' ? { container: one, host: one } : one)))
  .pipe(
    z
      .array(PortMapping)
      .max(50)
      .refine(
        (ports) => new Set(ports.map((p) => p.host)).size === ports.length,
        'must not publish one host port twice',
      ),
  );

const HEALTH_PATH =
  'must begin with / and hold letters, digits and . _ ~ % ? & = : , + @ - / only: write others as bytes, like %3B for a semicolon';

export const Health = z
  .strictObject({
    path: z
      .string()
      .max(1024)
      .regex(/^\/[A-Za-z0-9/._~%?&=:,+@-]*$/, HEALTH_PATH)
      .default('/'),
    port: port.meta({ description: 'Host port, probed on the instance.' }),
    intervalSeconds: seconds(1, 300).default(5),
    timeoutSeconds: seconds(1, 60).default(3),
    retries: z.int().min(1).max(100).default(3),
    startPeriodSeconds: seconds(0, 3600).default(30),
  })
  .meta({ description: 'HTTP probe; 2xx and 3xx pass. None means: healthy after running 5 seconds.' });

export const Instance = z
  .strictObject({
    types: z
      .array(z.string().regex(/^[a-z0-9-]+\.[a-z0-9-]+$/, 'must be an EC2 instance type like t3.small'))
      .min(1)
      .max(10)
      .default(['t3.small'])
      .meta({
        description:
          'Tried in order when capacity is short or EC2 refuses one; of either architecture, with an alias as AMI.',
      }),
    ami: z
      .string()
      .regex(
        /^(ami-[0-9a-f]{8,17}|ecs-al2023(-arm64)?)$/,
        'must be an AMI id or the alias ecs-al2023 or ecs-al2023-arm64',
      )
      .optional()
      .meta({ description: 'AMI id or alias, one the operator allows (ALLOWED_AMIS). Default: DEFAULT_AMI.' }),
    subnetIds: z
      .array(z.string().regex(/^subnet-[0-9a-f]{8,17}$/))
      .max(16)
      .default([]),
    securityGroupIds: z
      .array(z.string().regex(/^sg-[0-9a-f]{8,17}$/))
      .max(5)
      .default([]),
    profile: z
      .string()
      .regex(/^[\w+=,.@-]{1,128}$/)
      .optional()
      .meta({ description: 'Name of an instance profile the operator allows.' }),
    diskGiB: z.int().min(8).max(16_384).default(30).meta({
      description: 'Size of the root disk. At least that of the AMI, which for the default one is 30.',
    }),
    market: z.enum(['on-demand', 'spot']).default('on-demand').meta({
      description: 'EC2 may take a spot instance back at any time; onCapacity.fallback names another market.',
    }),
    publicIp: z.boolean().default(true),
  })
  .meta({ id: 'JobInstance', description: 'The EC2 instance the job gets.' });

export const Rollout = z
  .strictObject({
    stableSeconds: seconds(0, 3600).default(5).meta({ description: 'Healthy this long before it becomes active.' }),
    drainSeconds: seconds(0, 3600).default(10).meta({
      description: 'The old one keeps serving this long; with a URL this long after the last caller may have come.',
    }),
    stopGraceSeconds: seconds(0, 600).default(30).meta({ description: 'From SIGTERM to SIGKILL.' }),
    deadlineSeconds: seconds(30, 7200)
      .default(900)
      .meta({ description: 'From POST to active, all attempts together.' }),
  })
  .meta({ id: 'JobRollout', description: 'Times of a deployment, in seconds.' });

export const OnCapacity = z
  .union([
    z.literal('fail'),
    z.strictObject({
      waitSeconds: seconds(0, 7200)
        .default(600)
        .meta({ description: 'How long to wait for capacity, from the start of the attempt. 0: fail at once.' }),
      fallback: z
        .strictObject({ market: z.literal('on-demand') })
        .optional()
        .meta({ description: 'Tried once no type can be had as spot in any subnet.' }),
    }),
  ])
  .meta({
    description:
      'What to do when EC2 has no capacity. Every instance type is tried in every subnet, then the fallback’s market; what failed is not tried again for three minutes. When all have failed: fail at once, or wait this long.',
  });

/** Each lookup of an ingress goes through them. */
const MOST_NETWORKS = 50;
// Without a default, as `hosts` below: a process of the previous version reads a definition that has neither.
const Network = z
  .string()
  .max(43)
  .refine((text) => faultOfNetwork(text) === undefined, { error: ({ input }) => faultOfNetwork(String(input)) });

/** Each is a row that a pass of the job reads. */
const MOST_HOSTS = 10;
const HOST =
  'must be a host name like shop.example.com or xn--bcher-kva.example.com: lower-case letters, digits and hyphens, without a port';
const OwnHost = z
  .string()
  .max(253)
  .regex(HOST_NAME, { error: HOST, abort: true })
  .refine(isHostName, `${HOST}, and no address`);

export const RouteChoice = z
  .union([
    z.literal(false),
    z.strictObject({
      port: port.optional().meta({ description: 'Port of the container. Default: the only one that is published.' }),
      holdSeconds: seconds(0, 60).default(10).meta({
        description: 'How long a request waits while nothing serves and something is on its way. Then it gets a 503.',
      }),
      allow: z
        .array(Network)
        .max(MOST_NETWORKS)
        .optional()
        .meta({
          description:
            'Networks whose callers reach the job by its URL, of IPv4 and IPv6; all others get a 403. None: every caller does.',
          examples: [['10.0.0.0/8', '2001:db8::/32']],
        }),
      hosts: z
        .array(OwnHost)
        .max(MOST_HOSTS)
        .refine((hosts) => new Set(hosts).size === hosts.length, 'must not name one host twice')
        .optional()
        .meta({
          description:
            'Host names that lead to the job beside its URL, within those that the operator allows (JOBS_HOSTS). One that another job has is waited for: `hosts` of the job says so.',
          examples: [['shop.example.com']],
        }),
    }),
  ])
  .meta({
    description:
      'The job’s URL, `http://<name>.<domain of JOBS_URL>`, leads to this port of whatever instance serves. `false`: the job has no URL.',
    examples: [{ port: 8080, holdSeconds: 10, allow: ['10.0.0.0/8'] }],
  });

/** Everything of a job but its name, kind and image; a deployment keeps a copy. */
export const definitionFields = {
  command: Arguments.optional().meta({ description: 'Replaces the CMD of the image.', examples: [['node', 'web.js']] }),
  entrypoint: Arguments.optional().meta({ description: 'Replaces the ENTRYPOINT of the image.' }),
  env: Environment.default({}),
  ports: Ports.default([]).meta({
    description: 'Published ports. A number is that port on both sides.',
    examples: [[{ container: 8080, host: 80 }]],
  }),
  route: RouteChoice.prefault({}),
  memoryMiB: z.int().min(6).max(1_048_576).optional().meta({ description: 'Memory limit of the container.' }),
  cpus: z.number().min(0.01).max(256).optional().meta({ description: 'CPU limit of the container, in cores.' }),
  init: z.boolean().default(false).meta({
    description:
      'Docker’s own init as process 1: it forwards signals and reaps children, for images that do not. Images with an init of their own, as s6, need to be process 1.',
  }),
  noNewPrivileges: z.boolean().default(false).meta({
    description:
      'Nothing in the container gets more privileges than it was started with: more secure, but images that start by sudo or setuid programs end at once.',
  }),
  health: Health.optional(),
  instance: Instance.prefault({}),
  rollout: Rollout.prefault({}),
  onCapacity: OnCapacity.default({ waitSeconds: 600 }),
  maxSilenceSeconds: seconds(60, 86_400)
    .optional()
    .meta({ description: 'Without contact this long the instance ends itself. Default: never.' }),
};

/** With the rules that concern several fields. A body with more than a definition applies them by `checkTogether`. */
export const JobDefinition = z.strictObject(definitionFields).superRefine(checkTogether);
export type JobDefinition = z.infer<typeof JobDefinition>;

type Together = {
  health?: { port: number } | undefined;
  ports: readonly { container: number; host: number }[];
  route: false | { port?: number | undefined };
};

/** A `superRefine` of the rules that concern several fields. */
export function checkTogether(definition: Together, context: z.RefinementCtx): void {
  const { health, ports, route } = definition;
  if (health && !ports.some(({ host }) => host === health.port)) {
    const message = 'must be one of the host ports in ports: the probe runs on the instance';
    context.addIssue({ code: 'custom', path: ['health', 'port'], message, input: health.port });
  }
  if (route !== false && route.port !== undefined && !ports.some(({ container }) => container === route.port)) {
    const message = 'must be one of the container ports in ports';
    context.addIssue({ code: 'custom', path: ['route', 'port'], message, input: route.port });
  }
  if (Buffer.byteLength(JSON.stringify(definition)) > MAX_DEFINITION_BYTES) {
    context.addIssue({ code: 'custom', path: [], message: TOO_LARGE, input: undefined });
  }
}

// Every deployment keeps a copy, and a page of 200 has 200 of them. (ECS allows a task definition 64 KiB.)
const MAX_DEFINITION_BYTES = 128 * 1024;
const TOO_LARGE = `must not take more than ${MAX_DEFINITION_BYTES / 1024} KiB as JSON; large values in env or command are the usual cause`;

function isStorable(text: string): boolean {
  return !text.includes('\0') && text.isWellFormed();
}
