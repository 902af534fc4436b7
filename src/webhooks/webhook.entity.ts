import { Column, Entity, PrimaryColumn } from 'typeorm';

/** Where events are sent. */
@Entity('webhooks')
export class Webhook {
  @PrimaryColumn('uuid', { primaryKeyConstraintName: 'webhooks_pkey' })
  id!: string;

  @Column('text')
  url!: string;

  @Column('text')
  description!: string;

  /** Types of events: `deployment.active`, `deployment.*`, `*`. */
  @Column('text', { array: true })
  events!: string[];

  /** Prefixes of job names; null = every event, also those of no job. */
  @Column('text', { array: true, nullable: true })
  jobs!: string[] | null;

  /** Only admins made and changed it: if it is for every event, it gets those of tokens and registries, too. */
  @Column('boolean', { name: 'is_for_admins' })
  isForAdmins!: boolean;

  @Column('boolean', { default: true })
  enabled!: boolean;

  /** Why the program disabled it; null when a client did. */
  @Column('text', { name: 'disabled_reason', nullable: true })
  disabledReason!: DisabledReason | null;

  /** Of the first try that failed since one succeeded. */
  @Column('timestamptz', { name: 'failing_since', nullable: true })
  failingSince!: Date | null;

  /** The secret that signs; see secrets/sealed.ts. */
  @Column('bytea')
  sealed!: Buffer;

  /** The one before, which signs as well until `previousUntil`. */
  @Column('bytea', { name: 'previous_sealed', nullable: true })
  previousSealed!: Buffer | null;

  @Column('timestamptz', { name: 'previous_until', nullable: true })
  previousUntil!: Date | null;

  /** Of what clients may change, for ETag. */
  @Column('int', { default: 1 })
  version!: number;

  /** Id of the caller. */
  @Column('text', { name: 'created_by' })
  createdBy!: string;

  @Column('timestamptz', { name: 'created_at', default: () => 'clock_timestamp()' })
  createdAt!: Date;

  @Column('timestamptz', { name: 'updated_at', default: () => 'clock_timestamp()' })
  updatedAt!: Date;
}

/** `failing`: nothing was delivered for days. `gone`: the receiver answered 410. */
export const DISABLED_REASONS = ['failing', 'gone'] as const;
export type DisabledReason = (typeof DISABLED_REASONS)[number];
