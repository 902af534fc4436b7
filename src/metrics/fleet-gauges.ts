import type { Registry } from 'prom-client';
import type { FleetResponse } from '../fleet/fleet.schema.js';
import { registerLazyGauges } from './lazy-gauges.js';

/** Supply, demand and owner, as Postgres knows them. */
export function registerFleetGauges(registry: Registry, look: () => Promise<FleetResponse>): void {
  registerLazyGauges({
    registry,
    look,
    up: { name: 'scheduler_fleet_up', help: '1 when the state of the fleet could be read from Postgres in time.' },
    gauges: [
      {
        name: 'scheduler_instances',
        help: 'Living instances, by purpose.',
        labelNames: ['state'],
        samplesOf: ({ instances }) => STATES.map((state) => [{ state }, instances[state]]),
      },
      {
        name: 'scheduler_instances_orphaned',
        help: 'Living instances that nothing needs: must be 0.',
        samplesOf: ({ instances }) => [[{}, instances.orphaned]],
      },
      {
        name: 'scheduler_instances_lost',
        help: 'Instances of the last ten minutes’ launches that ended or were given up before they registered.',
        samplesOf: ({ lost }) => [[{}, lost]],
      },
      {
        name: 'scheduler_attempts_waiting',
        help: 'Attempts that wait for an instance.',
        samplesOf: ({ demand }) => [[{}, demand]],
      },
      {
        name: 'scheduler_launches_open',
        help: 'RunInstances calls that are not settled yet.',
        labelNames: ['status'],
        samplesOf: ({ launches }) => Object.entries(launches).map(([status, count]) => [{ status }, count]),
      },
      {
        name: 'scheduler_ec2_budget_tokens',
        help: 'Calls and resources left in our share of EC2’s quotas, by bucket, some seconds old.',
        labelNames: ['bucket'],
        samplesOf: ({ budgets }) => Object.entries(budgets).map(([bucket, tokens]) => [{ bucket }, tokens]),
      },
      {
        name: 'scheduler_owned',
        help: '1 while a process of the cluster owns the fleet.',
        samplesOf: ({ owner }) => [[{}, owner ? 1 : 0]],
      },
      {
        name: 'scheduler_owner_epoch',
        help: 'Grows with every change of the owner.',
        samplesOf: ({ owner }) => (owner ? [[{}, owner.epoch]] : []),
      },
    ],
  });
}

const STATES = ['pending', 'registered', 'assigned', 'retiring', 'quarantined'] as const;
