import { Column, Entity, Index, JoinColumn, ManyToOne, PrimaryColumn } from 'typeorm';
import { Job } from './job.entity.js';

/**
 * A host name that leads to a job. It is the job's until nobody can have an answer of ours any more that says so: its
 * row stays for a while after it was removed. Written by the job pass alone.
 */
@Entity('routes')
@Index('routes_of_job', ['jobId'])
export class Route {
  /** In lower case, without a dot at the end. */
  @PrimaryColumn('text', { primaryKeyConstraintName: 'routes_pkey' })
  host!: string;

  @Column('uuid', { name: 'job_id' })
  jobId!: string;

  @ManyToOne(() => Job, { onDelete: 'CASCADE' })
  @JoinColumn({ name: 'job_id', foreignKeyConstraintName: 'routes_job' })
  job?: Job;

  @Column('timestamptz', { name: 'created_at', default: () => 'clock_timestamp()' })
  createdAt!: Date;

  /** Since when it leads nowhere; null = it leads to its job. */
  @Column('timestamptz', { name: 'removed_at', nullable: true })
  removedAt!: Date | null;
}
