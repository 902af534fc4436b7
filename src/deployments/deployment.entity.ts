import { Check, Column, Entity, Index, JoinColumn, ManyToOne, PrimaryColumn } from 'typeorm';
import type { StoredDefinition } from '../jobs/stored-definition.js';
import { Job } from '../jobs/job.entity.js';
import type { Origin } from '../process/origin.js';
import type { AttemptPhase } from './attempt-status.js';
import type { DeploymentStatus, DeploymentTrigger } from './deployment-status.js';
import type { LogLine } from './log-line.js';

/** One immutable request to run one image on a job, and how far it got. */
@Entity('deployments')
@Check(
  'deployments_status',
  `status IN ('queued', 'deploying', 'active', 'draining', 'superseded', 'stopped', 'succeeded', 'failed', 'cancelled')`,
)
@Check('deployments_trigger', `trigger IN ('api', 'rollback', 'restart', 'start', 'schedule', 'adopt')`)
@Index('deployments_adopts', ['adopts'], {
  unique: true,
  where: `adopts IS NOT NULL AND status IN ('queued', 'deploying', 'active', 'draining')`,
})
@Index('deployments_job_number', ['jobId', 'number'], { unique: true })
@Index('deployments_open', ['jobId'], { where: `status IN ('queued', 'deploying', 'active', 'draining')` })
export class Deployment {
  @PrimaryColumn('uuid', { primaryKeyConstraintName: 'deployments_pkey' })
  id!: string;

  @Column('uuid', { name: 'job_id' })
  jobId!: string;

  @ManyToOne(() => Job, { onDelete: 'CASCADE' })
  @JoinColumn({ name: 'job_id', foreignKeyConstraintName: 'deployments_job' })
  job?: Job;

  @Column('int')
  number!: number;

  @Column('text')
  image!: string;

  /** `name@sha256:…` as the first instance resolved it: later attempts run exactly this image. */
  @Column('text', { name: 'image_digest', nullable: true })
  imageDigest!: string | null;

  /** AMI of the first instance it became active on; later attempts use it again. */
  @Column('text', { name: 'image_id', nullable: true })
  imageId!: string | null;

  @Column('jsonb')
  definition!: StoredDefinition;

  /** Version of the job's secrets that every attempt gets. Null = none. */
  @Column('int', { name: 'secrets_version', nullable: true })
  secretsVersion!: number | null;

  @Column('text', { name: 'secret_names', array: true, default: '{}' })
  secretNames!: string[];

  @Column('text')
  trigger!: DeploymentTrigger;

  /** The request that made it; null = no request did, or it is older than this column. */
  @Column('jsonb', { nullable: true })
  origin!: Origin | null;

  /** Instance in quarantine that the first attempt gets, with the container that runs on it. */
  @Column('text', { nullable: true })
  adopts!: string | null;

  /** Number of the deployment a rollback, restart or start was copied from. */
  @Column('int', { name: 'copied_from', nullable: true })
  copiedFrom!: number | null;

  @Column('text', { default: 'queued' })
  status!: DeploymentStatus;

  /** Why it has its status: a kebab-case code. */
  @Column('text', { nullable: true })
  reason!: string | null;

  @Column('text', { nullable: true })
  message!: string | null;

  /** Phase of the attempt in which it failed. */
  @Column('text', { name: 'failed_phase', nullable: true })
  failedPhase!: AttemptPhase | null;

  @Column('boolean', { nullable: true })
  retryable!: boolean | null;

  @Column('int', { name: 'exit_code', nullable: true })
  exitCode!: number | null;

  @Column('jsonb', { name: 'last_log_lines', nullable: true })
  lastLogLines!: LogLine[] | null;

  /** Before active: when it fails. Draining: when the old container is stopped. */
  @Column('timestamptz', { name: 'deadline_at', nullable: true })
  deadlineAt!: Date | null;

  @Column('timestamptz', { name: 'cancel_requested_at', nullable: true })
  cancelRequestedAt!: Date | null;

  @Column('timestamptz', { name: 'created_at', default: () => 'clock_timestamp()' })
  createdAt!: Date;

  @Column('timestamptz', { name: 'started_at', nullable: true })
  startedAt!: Date | null;

  @Column('timestamptz', { name: 'active_at', nullable: true })
  activeAt!: Date | null;

  @Column('timestamptz', { name: 'ended_at', nullable: true })
  endedAt!: Date | null;
}
