import type { Identity } from './identity.js';

// Whether an instance may register, as a pure function. The instance has proved its identity before.

/** Everything a registration is checked against, as read in one statement. */
export type RegistrationFacts = {
  readonly identity: Identity;
  /** SHA-256 of the agent's own token. */
  readonly tokenHash: Buffer;
  readonly settings: { readonly region: string; readonly accountId?: string };
  /** The launch with this secret; null when there is none. */
  readonly launch: LaunchFacts | null;
  /** The row of the instance; null when there is none yet. */
  readonly instance: InstanceFacts | null;
  /** The database's clock. */
  readonly now: Date;
};

export type LaunchFacts = {
  readonly id: string;
  readonly imageId: string;
  readonly count: number;
  /** RunInstances answered, and each instance of the answer has its row. */
  readonly isSettled: boolean;
  readonly createdAt: Date;
  /** Other instances that ever registered with it. */
  readonly registered: number;
};

export type InstanceFacts = {
  readonly launchId: string | null;
  readonly tokenHash: Buffer | null;
  readonly isRetired: boolean;
  /** In quarantine: the rows of its launch and of its first registration are lost. Null = it is not. */
  readonly quarantine: {
    /** A deployment under way is to adopt it. */
    readonly isAdopted: boolean;
    /** The secret is that of the launch its tag names. */
    readonly isSecretRight: boolean;
  } | null;
};

/** `registered`: it was before, with this token. `isAlarm`: no honest agent causes this, and a person should look. */
export type Verdict =
  | { readonly kind: 'admit'; readonly launchId: string }
  | { readonly kind: 'adopt' }
  | { readonly kind: 'registered' }
  /** EC2's answer to the launch is not stored yet. */
  | { readonly kind: 'retry' }
  | { readonly kind: 'refuse'; readonly reason: RefusalReason; readonly isAlarm: boolean };

export type RefusalReason =
  | 'other-region'
  | 'other-account'
  | 'unknown-secret'
  | 'quarantined'
  | 'other-launch'
  | 'other-token'
  | 'instance-retired'
  | 'other-image'
  | 'older-than-launch'
  | 'secret-expired'
  | 'unknown-instance'
  | 'launch-full';

/** From the instance's own start. User-data stays readable, so its secret must not be worth stealing for long. */
export const SECRET_AGE_LIMIT_MINUTES = 15;
/** The launch is written by the database's clock, pendingTime by EC2's: this far they may differ. */
const CLOCK_SKEW_MINUTES = 5;

export function checkRegistration(facts: RegistrationFacts): Verdict {
  const { identity, tokenHash, settings, launch, instance, now } = facts;
  if (identity.region !== settings.region) return alarm('other-region');
  if (settings.accountId !== undefined && identity.accountId !== settings.accountId) return alarm('other-account');
  if (launch === null && instance?.quarantine) return checkAdoption(instance, instance.quarantine, tokenHash);
  if (launch === null) return alarm('unknown-secret');
  if (instance && instance.launchId !== launch.id) return alarm('other-launch');
  if (instance?.tokenHash && !instance.tokenHash.equals(tokenHash)) return alarm('other-token');
  if (instance?.isRetired) return refuse('instance-retired');
  // The answer to its first registration got lost: true however old the secret is by now.
  if (instance?.tokenHash) return { kind: 'registered' };
  if (identity.imageId !== launch.imageId) return alarm('other-image');
  if (minutesBetween(identity.pendingTime, launch.createdAt) > CLOCK_SKEW_MINUTES) return alarm('older-than-launch');
  if (minutesBetween(identity.pendingTime, now) > SECRET_AGE_LIMIT_MINUTES) return refuse('secret-expired');
  // All instances of a settled launch have a row: this one only knows its secret.
  if (!instance && launch.isSettled) return alarm('unknown-instance');
  if (launch.registered >= launch.count) return alarm('launch-full');
  // A document cannot show which account is the right one: only EC2's answer to the API's own credentials does.
  if (!instance && settings.accountId === undefined) return { kind: 'retry' };
  return { kind: 'admit', launchId: launch.id };
}

/** Its age does not count: it was registered once, and an operator vouches for it. */
function checkAdoption(
  { isRetired, tokenHash: known }: InstanceFacts,
  { isAdopted, isSecretRight }: NonNullable<InstanceFacts['quarantine']>,
  tokenHash: Buffer,
): Verdict {
  if (!isSecretRight) return alarm('unknown-secret');
  if (known && !known.equals(tokenHash)) return alarm('other-token');
  if (isRetired) return refuse('instance-retired');
  if (known) return { kind: 'registered' };
  return isAdopted ? { kind: 'adopt' } : refuse('quarantined');
}

function refuse(reason: RefusalReason): Verdict {
  return { kind: 'refuse', reason, isAlarm: false };
}

function alarm(reason: RefusalReason): Verdict {
  return { kind: 'refuse', reason, isAlarm: true };
}

function minutesBetween(from: Date, to: Date): number {
  return (to.getTime() - from.getTime()) / 60_000;
}
