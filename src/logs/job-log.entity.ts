import { Column, Entity, Index, JoinColumn, OneToOne, PrimaryColumn } from 'typeorm';
import { Job } from '../jobs/job.entity.js';

/** The log of a job that ever printed something. Its row lock is the fence of the job's chunks. */
@Entity('job_logs')
@Index('job_logs_recent', ['recentSince'], { where: 'recent_chunks > 0' })
export class JobLog {
  @PrimaryColumn('uuid', { name: 'job_id', primaryKeyConstraintName: 'job_logs_pkey' })
  jobId!: string;

  @OneToOne(() => Job, { onDelete: 'CASCADE' })
  @JoinColumn({ name: 'job_id', foreignKeyConstraintName: 'job_logs_job' })
  job?: Job;

  /** Number of the latest line: lines of a job are numbered 1, 2, 3 … in the order they were stored. */
  @Column('bigint', { name: 'last_line', default: 0 })
  lastLine!: string;

  /** Of all chunks, uncompressed. */
  @Column('bigint', { default: 0 })
  bytes!: string;

  /** Of the chunks whose content is in the database. */
  @Column('bigint', { name: 'recent_bytes', default: 0 })
  recentBytes!: string;

  @Column('int', { name: 'recent_chunks', default: 0 })
  recentChunks!: number;

  /** When the oldest of them was stored. */
  @Column('timestamptz', { name: 'recent_since', nullable: true })
  recentSince!: Date | null;

  /** Until then one process is sealing. A hint that saves work twice done: what is sealed twice is the same. */
  @Column('timestamptz', { name: 'sealing_until', nullable: true })
  sealingUntil!: Date | null;

  /** The same for retention. */
  @Column('timestamptz', { name: 'dropping_until', nullable: true })
  droppingUntil!: Date | null;
}
