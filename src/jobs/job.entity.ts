import { Check, Column, Entity, Index, PrimaryColumn } from 'typeorm';
import type { DesiredState, JobKind, JobStatus } from './job-status.js';
import type { StoredDefinition } from './stored-definition.js';

/** A named place for one container on one instance. Its row lock is the fence of everything the job depends on. */
@Entity('jobs')
@Check('jobs_kind', `kind IN ('service', 'task')`)
@Check('jobs_desired_state', `desired_state IN ('running', 'stopped', 'deleted')`)
@Check(
  'jobs_status',
  `status IN ('idle', 'deploying', 'running', 'degraded', 'stopped', 'failed', 'succeeded', 'deleting')`,
)
@Index('jobs_name_of_the_living', ['name'], { unique: true, where: 'deleted_at IS NULL' })
@Index('jobs_due', ['nextPassAt'], { where: 'next_pass_at IS NOT NULL' })
export class Job {
  @PrimaryColumn('uuid', { primaryKeyConstraintName: 'jobs_pkey' })
  id!: string;

  @Column('text')
  name!: string;

  @Column('text')
  kind!: JobKind;

  @Column('jsonb')
  definition!: StoredDefinition;

  @Column('text', { name: 'desired_state', default: 'running' })
  desiredState!: DesiredState;

  /** A summary, written by HTTP with an intent and by the job pass with every plan. */
  @Column('text', { default: 'idle' })
  status!: JobStatus;

  /** Number of the latest deployment: a counter, because max(number) + 1 races inside one statement. */
  @Column('int', { name: 'deployment_count', default: 0 })
  deploymentCount!: number;

  @Column('uuid', { name: 'active_deployment_id', nullable: true })
  activeDeploymentId!: string | null;

  /** When the job pass must run again; null = nothing can happen by itself. */
  @Column('timestamptz', { name: 'next_pass_at', nullable: true })
  nextPassAt!: Date | null;

  /** Counts changes of the definition and the desired state. */
  @Column('int', { default: 1 })
  version!: number;

  /** Version of the latest secrets: a counter, as overrides of a deployment use versions too. */
  @Column('int', { name: 'secrets_count', default: 0 })
  secretsCount!: number;

  /** Version that the next deployment gets; null = none. */
  @Column('int', { name: 'secrets_version', nullable: true })
  secretsVersion!: number | null;

  @Column('text', { name: 'secret_names', array: true, default: '{}' })
  secretNames!: string[];

  @Column('timestamptz', { name: 'created_at', default: () => 'clock_timestamp()' })
  createdAt!: Date;

  @Column('timestamptz', { name: 'updated_at', default: () => 'clock_timestamp()' })
  updatedAt!: Date;

  @Column('timestamptz', { name: 'deleted_at', nullable: true })
  deletedAt!: Date | null;
}
