import { z } from 'zod';
import { pageOf, pageQuery } from '../http/pagination.js';

const INSTANCE_STATES = ['pending', 'running', 'stopping', 'stopped', 'shutting-down', 'terminated', 'gone'] as const;

const time = z.iso.datetime();
const count = z.int().min(0);

export const InstanceId = z
  .string()
  .regex(/^i-[0-9a-f]{8,17}$/, 'must be an instance id like i-0123456789abcdef0')
  .meta({ description: 'EC2’s id of an instance.', examples: ['i-0a1b2c3d4e5f60718'] });

export const ListInstances = z.strictObject({
  ...pageQuery,
  state: z
    .enum(INSTANCE_STATES)
    .optional()
    .meta({ description: 'Only instances in this state, as EC2 last showed it. `gone`: EC2 no longer shows it.' }),
});
export type ListInstances = z.infer<typeof ListInstances>;

export const InstanceResponse = z
  .object({
    id: z.string().meta({ description: 'EC2’s id.' }),
    state: z.enum(INSTANCE_STATES),
    stateReason: z.string().nullable().meta({ description: 'EC2’s code of why it ended.' }),
    type: z.string().nullable(),
    market: z.enum(['on-demand', 'spot']).nullable().meta({ description: 'How it was bought; null = not known.' }),
    ami: z.string().nullable().meta({ description: 'AMI it was launched from.' }),
    availabilityZone: z.string().nullable(),
    privateIp: z.string().nullable(),
    publicIp: z.string().nullable(),
    job: z.string().nullable().meta({ description: 'The job it was given to, for life; null = none yet.' }),
    deployment: z.int().nullable().meta({ description: 'Number of the deployment it was given to.' }),
    launchId: z.string().nullable().meta({
      description:
        'The RunInstances call it came from; null where none is known: in quarantine, and after an adoption.',
    }),
    quarantined: z.boolean().meta({ description: 'It carries our tag, but no launch of ours: left alone.' }),
    launchedAt: time,
    registeredAt: time.nullable(),
    lastSeenAt: time.nullable().meta({ description: 'When its agent last sent a request, some seconds behind.' }),
    retireReason: z.string().nullable().meta({ description: 'Why it is to be terminated.' }),
    terminatedAt: time.nullable(),
  })
  .meta({ id: 'Instance', description: 'An EC2 instance, as last observed.' });
export type InstanceResponse = z.infer<typeof InstanceResponse>;

export const InstancePage = pageOf(InstanceResponse).meta({ id: 'InstancePage' });

export const FleetResponse = z
  .object({
    instances: z
      .object({
        pending: count.meta({ description: 'Launched, not registered yet.' }),
        registered: count.meta({ description: 'Ready and without work.' }),
        assigned: count.meta({ description: 'Given to an attempt.' }),
        retiring: count.meta({ description: 'To be terminated, not observed terminated yet.' }),
        quarantined: count.meta({ description: 'With our tag, from a launch we have no row of. An operator decides.' }),
        orphaned: count.meta({
          description: 'Alive although nothing needs them, for longer than the fleet takes to notice: must be 0.',
        }),
      })
      .meta({ description: 'Living instances. `orphaned` ones are counted above as well.' }),
    lost: count.meta({
      description: 'Instances launched in the last ten minutes that ended, or were given up, before they registered.',
    }),
    demand: count.meta({ description: 'Attempts that wait for an instance.' }),
    launches: z
      .object({
        planned: count.meta({ description: 'Written down, not called yet.' }),
        unknown: count.meta({ description: 'Called, outcome not known: repeated until it is.' }),
      })
      .meta({ description: 'Open RunInstances calls.' }),
    budgets: z
      .record(z.string(), z.number())
      .meta({ description: 'Calls and resources our share of EC2’s quotas leaves, by bucket, some seconds old.' }),
    owner: z
      .object({ holder: z.string(), epoch: z.int(), expiresAt: time })
      .nullable()
      .meta({ description: 'The process that may call EC2 now; null = none.' }),
  })
  .meta({ id: 'Fleet', description: 'The supply of instances at a glance.' });
export type FleetResponse = z.infer<typeof FleetResponse>;

export const INSTANCE_EXAMPLE: InstanceResponse = {
  id: 'i-0a1b2c3d4e5f60718',
  state: 'running',
  stateReason: null,
  type: 't3.small',
  market: 'on-demand',
  ami: 'ami-0123456789abcdef0',
  availabilityZone: 'us-west-2a',
  privateIp: '10.0.12.7',
  publicIp: '203.0.113.7',
  job: 'web',
  deployment: 3,
  launchId: '5f0c6f6e-2d0a-4d0e-9a55-0d3b1a4a3c11',
  quarantined: false,
  launchedAt: '2026-03-01T12:00:00.000Z',
  registeredAt: '2026-03-01T12:00:28.000Z',
  lastSeenAt: '2026-03-01T12:30:05.000Z',
  retireReason: null,
  terminatedAt: null,
};

export const FLEET_EXAMPLE: FleetResponse = {
  instances: { pending: 2, registered: 0, assigned: 40, retiring: 1, quarantined: 0, orphaned: 0 },
  lost: 0,
  demand: 2,
  launches: { planned: 0, unknown: 0 },
  budgets: { RunInstances: 4, 'RunInstances/instances': 798.4 },
  owner: { holder: 'b1d9b3f0-8f0e-4f9a-9c53-6a5a3c2f1e77', epoch: 12, expiresAt: '2026-03-01T12:30:15.000Z' },
};
