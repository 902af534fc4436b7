import { Check, Column, Entity, Index, JoinColumn, ManyToOne, PrimaryColumn } from 'typeorm';
import type { ReachedAs } from '../jobs/route-rules.js';
import type { AttemptPhase } from './attempt-status.js';
import { Deployment } from './deployment.entity.js';

/** One try to run a deployment on one instance. */
@Entity('attempts')
@Check(
  'attempts_phase',
  `phase IN ('waiting', 'assigned', 'pulling', 'starting', 'healthy', 'unrouting', 'stopping', 'ended')`,
)
@Check('attempts_reached_as', `reached_as IN ('http', 'silent', 'other', 'nothing')`)
@Index('attempts_deployment_number', ['deploymentId', 'number'], { unique: true })
@Index('attempts_live', ['jobId'], { where: `phase <> 'ended'` })
@Index('attempts_unreached', ['reachAskedAt'], { where: 'reach_port IS NOT NULL AND reached_as IS NULL' })
@Index('attempts_waiting', ['shapeKey', 'priority', 'createdAt'], { where: `phase = 'waiting'` })
@Index('attempts_ended', ['shapeKey', 'endedAt'], { where: `phase = 'ended'` })
export class Attempt {
  @PrimaryColumn('uuid', { primaryKeyConstraintName: 'attempts_pkey' })
  id!: string;

  @Column('uuid', { name: 'job_id' })
  jobId!: string;

  @Column('uuid', { name: 'deployment_id' })
  deploymentId!: string;

  @ManyToOne(() => Deployment, { onDelete: 'CASCADE' })
  @JoinColumn({ name: 'deployment_id', foreignKeyConstraintName: 'attempts_deployment' })
  deployment?: Deployment;

  @Column('int')
  number!: number;

  /** The shape it waits for: `shapes.key`. */
  @Column('text', { name: 'shape_key' })
  shapeKey!: string;

  /** 0 healing, 1 rollback, 2 api, 3 schedule: lower is served first. */
  @Column('smallint')
  priority!: number;

  @Column('text', { default: 'waiting' })
  phase!: AttemptPhase;

  /** Why it ended or what it waits for: a kebab-case code. */
  @Column('text', { nullable: true })
  reason!: string | null;

  @Column('text', { nullable: true })
  message!: string | null;

  /** Whether its end counts against the job (one whose agent never reported does not). */
  @Column('boolean', { default: true })
  counted!: boolean;

  @Column('timestamptz', { name: 'created_at', default: () => 'clock_timestamp()' })
  createdAt!: Date;

  @Column('timestamptz', { name: 'assigned_at', nullable: true })
  assignedAt!: Date | null;

  @Column('timestamptz', { name: 'pulling_at', nullable: true })
  pullingAt!: Date | null;

  @Column('timestamptz', { name: 'starting_at', nullable: true })
  startingAt!: Date | null;

  @Column('timestamptz', { name: 'healthy_at', nullable: true })
  healthyAt!: Date | null;

  /** Callers no longer get here, and those that still do by an older answer are waited for. */
  @Column('timestamptz', { name: 'unrouting_at', nullable: true })
  unroutingAt!: Date | null;

  @Column('timestamptz', { name: 'stopping_at', nullable: true })
  stoppingAt!: Date | null;

  @Column('timestamptz', { name: 'ended_at', nullable: true })
  endedAt!: Date | null;

  /** All its container printed is stored; null for an attempt that ended without that. Written by the job pass. */
  @Column('timestamptz', { name: 'logs_complete_at', nullable: true })
  logsCompleteAt!: Date | null;

  /** Host port that the job's addresses lead to; null = they do not lead to this attempt. Of one attempt of a job at most. */
  @Column('int', { name: 'routed_port', nullable: true })
  routedPort!: number | null;

  /** When they last ceased to lead here; null = they still do, or never did. */
  @Column('timestamptz', { name: 'unrouted_at', nullable: true })
  unroutedAt!: Date | null;

  /** Host port that a process beside the ingress is to connect to; null = none. Written by the job pass. */
  @Column('int', { name: 'reach_port', nullable: true })
  reachPort!: number | null;

  @Column('timestamptz', { name: 'reach_asked_at', nullable: true })
  reachAskedAt!: Date | null;

  /** What was found there; null = not known yet. Written by reach-checks.service.ts. */
  @Column('text', { name: 'reached_as', nullable: true })
  reachedAs!: ReachedAs | null;
}
