import { Check, Column, Entity, PrimaryColumn } from 'typeorm';
import type { Allow, Role } from '../http/caller.js';

/** A bearer token: what it allows, and a hash of what only its holder knows. */
@Entity('tokens')
@Check('tokens_role', `role IN ('viewer', 'deployer', 'admin')`)
export class Token {
  /** The eight characters after `sch_`, by which a token is found in a log or a file. */
  @PrimaryColumn('text', { primaryKeyConstraintName: 'tokens_pkey' })
  id!: string;

  @Column('text')
  name!: string;

  /** SHA-256 of the whole token: with 256 random bits in it nothing slower is needed. */
  @Column('bytea')
  hash!: Buffer;

  @Column('text')
  role!: Role;

  /** Prefixes of job names; null = all jobs. */
  @Column('text', { array: true, nullable: true })
  scope!: string[] | null;

  @Column('int', { name: 'max_jobs', nullable: true })
  maxJobs!: number | null;

  @Column('int', { name: 'max_instances', nullable: true })
  maxInstances!: number | null;

  @Column('int', { name: 'max_webhooks', nullable: true })
  maxWebhooks!: number | null;

  /** What its jobs may name and cost; null = what the settings allow. */
  @Column('jsonb', { nullable: true })
  allow!: Allow | null;

  @Column('int', { name: 'requests_per_minute', nullable: true })
  requestsPerMinute!: number | null;

  @Column('timestamptz', { name: 'created_at', default: () => 'clock_timestamp()' })
  createdAt!: Date;

  @Column('timestamptz', { name: 'expires_at', nullable: true })
  expiresAt!: Date | null;

  /** Written in batches: up to ten seconds late. */
  @Column('timestamptz', { name: 'last_used_at', nullable: true })
  lastUsedAt!: Date | null;

  @Column('timestamptz', { name: 'revoked_at', nullable: true })
  revokedAt!: Date | null;
}
