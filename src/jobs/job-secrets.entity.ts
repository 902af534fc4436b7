import { Column, Entity, JoinColumn, ManyToOne, PrimaryColumn } from 'typeorm';
import { Job } from './job.entity.js';

/**
 * One version of a job's secrets: all of them, sealed together. Never changed; deleted once neither its job nor a
 * deployment refers to it.
 */
@Entity('job_secrets')
export class JobSecrets {
  @PrimaryColumn('uuid', { name: 'job_id', primaryKeyConstraintName: 'job_secrets_pkey' })
  jobId!: string;

  @ManyToOne(() => Job, { onDelete: 'CASCADE' })
  @JoinColumn({ name: 'job_id', foreignKeyConstraintName: 'job_secrets_job' })
  job?: Job;

  @PrimaryColumn('int', { primaryKeyConstraintName: 'job_secrets_pkey' })
  version!: number;

  /** JSON, name → value; see secrets/sealed.ts. */
  @Column('bytea')
  sealed!: Buffer;

  @Column('timestamptz', { name: 'created_at', default: () => 'clock_timestamp()' })
  createdAt!: Date;
}
