import { createHash } from 'node:crypto';
import { CloudError } from './errors.ts';
import type { CloudInstance } from './instance.ts';

/** What a ClientToken stands for, kept as long as the cloud lives (EC2: at least a day after termination). */
export type LaunchRecord = {
  readonly token: string;
  /** Tokens count per zone when the call named a subnet or zone, else per region (docs/ec2.md). */
  readonly scope: string;
  readonly fingerprint: string;
  readonly reservationId: string;
  readonly instanceIds: readonly string[];
};

export type Launches = {
  /** @throws IdempotentParameterMismatch */
  find(token: string, scope: string, fingerprint: string): LaunchRecord | undefined;
  add(launch: LaunchRecord): void;
};

export function createLaunches(earlier: readonly LaunchRecord[], onAdd: (launch: LaunchRecord) => void): Launches {
  const launches = new Map(earlier.map((launch) => [keyOf(launch.token, launch.scope), launch]));
  return {
    find: (token, scope, fingerprint) => {
      const launch = launches.get(keyOf(token, scope));
      if (launch === undefined || launch.fingerprint === fingerprint) return launch;
      const message =
        'Arguments on this idempotent request are inconsistent with arguments used in previous request(s).';
      throw new CloudError('IdempotentParameterMismatch', message);
    },
    add: (launch) => {
      launches.set(keyOf(launch.token, launch.scope), launch);
      onAdd(launch);
    },
  };
}

/** Spent once nothing of the launch lives: since 2025 EC2 refuses it instead of answering with the dead instances. */
export function refuseSpentToken(instances: readonly CloudInstance[]): void {
  if (!instances.every((instance) => instance.state === 'terminated')) return;
  const message = 'The client token is already in use by an instance that has been terminated.';
  throw new CloudError('IdempotentInstanceTerminated', message);
}

export function fingerprintOf(canonicalParameters: string): string {
  return createHash('sha256').update(canonicalParameters).digest('hex');
}

function keyOf(token: string, scope: string): string {
  return `${scope} ${token}`;
}
