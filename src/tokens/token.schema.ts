import { z } from 'zod';
import { pageOf, pageQuery } from '../http/pagination.js';
import { plainText } from '../http/plain-text.js';
import { ROLES } from '../http/caller.js';
import { HOST_NAME } from '../config/host-name.js';

// What goes over the wire for a token.

const name = plainText(z.string().min(1).max(100)).meta({
  description: 'What it is for, for people. Need not be unique.',
  examples: ['ci of team a'],
});

const role = z.enum(ROLES).meta({
  description:
    '`viewer` reads, `deployer` also changes jobs and deployments, `admin` also manages tokens and what is in quarantine.',
});

const scope = z
  .array(z.string().regex(/^[a-z0-9][-a-z0-9]{0,62}$/, 'must be the beginning of a job’s name: a-z, 0-9 and hyphens'))
  .min(1)
  .max(50)
  .nullable()
  .meta({
    description:
      'Prefixes of the job names this token is for: `team-a-` is `team-a-web` and so on. Null: all jobs, and the fleet.',
    examples: [['team-a-']],
  });

const maxJobs = z
  .int()
  .min(0)
  .max(1_000_000)
  .nullable()
  .meta({ description: 'Living jobs there may be in the scope when this token makes one. Null: no limit of its own.' });

const maxInstances = z.int().min(0).max(1_000_000).nullable().meta({
  description:
    'Instances the jobs of the scope may have, those on their way and those that are ending included, when this token requests one more: 409 beyond it. A deployment that replaces another needs one more until that is gone. Null: no limit of its own.',
});

const maxWebhooks = z.int().min(0).max(100).nullable().meta({
  description:
    'Webhooks there may be for jobs of the scope when this token makes one. Null: ten for a token with a scope, else as many as the cluster may have.',
});

const entries = (pattern: RegExp, what: string) =>
  z
    .array(z.string().max(300).regex(pattern, `must be ${what}`))
    .max(100)
    .optional();

const allow = z
  .strictObject({
    registries: entries(
      /^[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:\d{1,5})?(\/[a-z0-9]+([._-]+[a-z0-9]+)*)*$/,
      'a host like docker.io, or one with the beginning of a path like registry.example.com/team-a',
    ).meta({
      description:
        'Where images may come from: hosts of registries, or hosts with the beginning of a path. `docker.io` is the Hub, its official images are `docker.io/library`.',
      examples: [['docker.io', 'registry.example.com/team-a']],
    }),
    amis: entries(
      /^(ami-[0-9a-f]{8,17}|ecs-al2023(-arm64)?)$/,
      'an AMI id or the alias ecs-al2023 or ecs-al2023-arm64',
    ).meta({ description: 'AMIs that may be named; the operator’s DEFAULT_AMI needs no name.' }),
    profiles: entries(/^[\w+=,.@-]{1,128}$/, 'the name of an instance profile').meta({
      description: 'Instance profiles that may be named: whose credentials containers may have.',
      examples: [['team-a-job']],
    }),
    securityGroups: entries(/^sg-[0-9a-f]{8,17}$/, 'a security group id').meta({
      description: 'Of these every job names one or more, since a job that names none gets the operator’s.',
    }),
    subnets: entries(/^subnet-[0-9a-f]{8,17}$/, 'a subnet id').meta({
      description: 'Of these every job names one or more, since a job that names none gets the operator’s.',
    }),
    types: entries(/^[a-z0-9-]+\.([a-z0-9-]+|\*)$/, 'an instance type like t3.small, or a family like t3.*').meta({
      description: 'Instance types, or families of them.',
      examples: [['t3.*', 't4g.*']],
    }),
    maxDiskGiB: z.int().min(8).max(16_384).optional().meta({ description: 'Largest disk of an instance.' }),
    hosts: entries(HOST_NAME, 'a domain like example.com').meta({
      description:
        'Domains that a job’s `route.hosts` may be, or be below. Unlike the others a missing list allows none to a token with a scope, beyond those that the job has.',
      examples: [['team-a.example.com']],
    }),
  })
  .nullable()
  .meta({
    description:
      'What jobs may name and cost when this token deploys or changes them, within what the operator’s settings allow. Each field is a limit of its own, and one that is left out is none; an empty list allows no name. Null: as the settings say.',
    examples: [{ registries: ['registry.example.com/team-a'], profiles: [], types: ['t3.*'], maxDiskGiB: 50 }],
  });

const requestsPerMinute = z
  .int()
  .min(1)
  .max(1_000_000)
  .nullable()
  .meta({ description: 'Null: as the setting RATE_LIMIT says.' });

export const CreateToken = z
  .strictObject({
    name,
    role,
    scope: scope.default(null),
    maxJobs: maxJobs.default(null),
    maxInstances: maxInstances.default(null),
    maxWebhooks: maxWebhooks.default(null),
    allow: allow.default(null),
    requestsPerMinute: requestsPerMinute.default(null),
    expiresInDays: z.int().min(1).max(3650).nullable().default(null).meta({ description: 'Null: never.' }),
  })
  .superRefine((token, context) => {
    if (token.role !== 'admin') return;
    for (const field of ['scope', 'allow'] as const) {
      if (token[field] === null) continue;
      const message = `must be null: an admin can give itself any ${field === 'scope' ? field : 'other'}`;
      context.addIssue({ code: 'custom', path: [field], message, input: token[field] });
    }
  })
  .meta({
    id: 'CreateToken',
    examples: [
      {
        name: 'ci of team a',
        role: 'deployer',
        scope: ['team-a-'],
        maxJobs: 20,
        maxInstances: 40,
        allow: { registries: ['registry.example.com/team-a'], profiles: [] },
        expiresInDays: 365,
      },
    ],
  });
export type CreateToken = z.infer<typeof CreateToken>;

const time = z.iso.datetime();

const tokenFields = {
  id: z.string().meta({ description: 'The part after `sch_`, by which a token is found.', examples: ['1f2e3d4c'] }),
  name,
  role,
  scope,
  maxJobs,
  maxInstances,
  maxWebhooks,
  allow,
  requestsPerMinute,
  createdAt: time,
  expiresAt: time.nullable(),
  lastUsedAt: time.nullable().meta({ description: 'Up to ten seconds late.' }),
  revokedAt: time.nullable(),
};

export const TokenResponse = z.object(tokenFields).meta({ id: 'Token' });
export type TokenResponse = z.infer<typeof TokenResponse>;

export const NewTokenResponse = z
  .object({ token: z.string().meta({ description: 'Shown here and never again.' }), ...tokenFields })
  .meta({ id: 'NewToken' });
export type NewTokenResponse = z.infer<typeof NewTokenResponse>;

export const TokenPage = pageOf(TokenResponse).meta({ id: 'TokenPage' });

export const ListTokens = z.strictObject(pageQuery);
export type ListTokens = z.infer<typeof ListTokens>;

export const TOKEN_EXAMPLE: TokenResponse = {
  id: '1f2e3d4c',
  name: 'ci of team a',
  role: 'deployer',
  scope: ['team-a-'],
  maxJobs: 20,
  maxInstances: 40,
  maxWebhooks: null,
  allow: { registries: ['registry.example.com/team-a'], profiles: [], types: ['t3.*'], maxDiskGiB: 50 },
  requestsPerMinute: null,
  createdAt: '2026-05-04T09:30:00.000Z',
  expiresAt: '2027-05-04T09:30:00.000Z',
  lastUsedAt: null,
  revokedAt: null,
};
