import { Column, Entity, Index, JoinColumn, ManyToOne, PrimaryColumn } from 'typeorm';
import { JobLog } from './job-log.entity.js';
import type { LineCounts } from './line-format.js';

/** Lines `first_line` to `last_line` of a job. Recent ones have their content here, sealed ones in the object store. */
@Entity('log_chunks')
@Index('log_chunks_stored', ['storedAt'])
export class LogChunk {
  @PrimaryColumn('uuid', { name: 'job_id', primaryKeyConstraintName: 'log_chunks_pkey' })
  jobId!: string;

  @ManyToOne(() => JobLog, { onDelete: 'CASCADE' })
  @JoinColumn({ name: 'job_id', foreignKeyConstraintName: 'log_chunks_job' })
  jobLog?: JobLog;

  @PrimaryColumn('bigint', { name: 'last_line', primaryKeyConstraintName: 'log_chunks_pkey' })
  lastLine!: string;

  @Column('bigint', { name: 'first_line' })
  firstLine!: string;

  /** Uncompressed. */
  @Column('int')
  bytes!: number;

  /** Earliest and latest time a line was printed, as the instance's clock had it. */
  @Column('timestamptz', { name: 'first_at' })
  firstAt!: Date;

  @Column('timestamptz', { name: 'last_at' })
  lastAt!: Date;

  @Column('jsonb')
  counts!: LineCounts;

  /** Lines as line-format.ts writes them; null = sealed, see chunk-objects.ts. */
  @Column('bytea', { nullable: true })
  content!: Buffer | null;

  /** When its oldest line was stored. */
  @Column('timestamptz', { name: 'stored_at', default: () => 'clock_timestamp()' })
  storedAt!: Date;
}
