import { z } from 'zod';
import { pageOf, pageQuery } from '../http/pagination.js';
import { ROLES } from './access-rules.js';

// What goes over the wire for a token.

const name = z
  .string()
  .min(1)
  .max(100)
  .regex(/^[^\p{Cc}\p{Cs}]*$/u, 'must not contain control characters')
  .meta({ description: 'What it is for, for people. Need not be unique.', examples: ['ci of team a'] });

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
    'Instances the jobs of the scope may have, those on their way and those that are ending included, when this token asks for one more: 409 beyond it. A deployment that replaces another needs one more until that is gone. Null: no limit of its own.',
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
    requestsPerMinute: requestsPerMinute.default(null),
    expiresInDays: z.int().min(1).max(3650).nullable().default(null).meta({ description: 'Null: never.' }),
  })
  .superRefine((token, context) => {
    if (token.role !== 'admin' || token.scope === null) return;
    const message = 'must be null: whoever manages tokens can give itself any scope';
    context.addIssue({ code: 'custom', path: ['scope'], message, input: token.scope });
  })
  .meta({
    id: 'CreateToken',
    examples: [
      { name: 'ci of team a', role: 'deployer', scope: ['team-a-'], maxJobs: 20, maxInstances: 40, expiresInDays: 365 },
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
  requestsPerMinute,
  createdAt: time,
  expiresAt: time.nullable(),
  lastUsedAt: time.nullable().meta({ description: 'Up to half a minute late.' }),
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
  requestsPerMinute: null,
  createdAt: '2026-05-04T09:30:00.000Z',
  expiresAt: '2027-05-04T09:30:00.000Z',
  lastUsedAt: null,
  revokedAt: null,
};
