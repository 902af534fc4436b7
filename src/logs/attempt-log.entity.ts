import { Column, Entity, Index, JoinColumn, ManyToOne, OneToOne, PrimaryColumn } from 'typeorm';
import { Attempt } from '../deployments/attempt.entity.js';
import { JobLog } from './job-log.entity.js';
import type { StoredPositions } from './stored-position.js';

/** How far the log of an attempt's container is stored. */
@Entity('attempt_logs')
@Index('attempt_logs_by_job', ['jobId', 'deployment'])
export class AttemptLog {
  @PrimaryColumn('uuid', { name: 'attempt_id', primaryKeyConstraintName: 'attempt_logs_pkey' })
  attemptId!: string;

  @OneToOne(() => Attempt, { onDelete: 'CASCADE' })
  @JoinColumn({ name: 'attempt_id', foreignKeyConstraintName: 'attempt_logs_attempt' })
  attemptRow?: Attempt;

  @Column('uuid', { name: 'job_id' })
  jobId!: string;

  @ManyToOne(() => JobLog, { onDelete: 'CASCADE' })
  @JoinColumn({ name: 'job_id', foreignKeyConstraintName: 'attempt_logs_job' })
  jobLog?: JobLog;

  /** Number of its deployment. */
  @Column('int')
  deployment!: number;

  /** Number of the attempt. */
  @Column('int')
  attempt!: number;

  /** Counts commits: a writer names the version that it read, and stores nothing if that has changed. */
  @Column('int', { default: 0 })
  version!: number;

  /** The latest line of each stream. */
  @Column('jsonb', { default: {} })
  stored!: StoredPositions;
}
