import { Column, Entity, Index, PrimaryGeneratedColumn } from 'typeorm';
import type { EventType } from './event-types.js';

/**
 * Something that happened. Written once, in the transaction of the change it records; later only its position is set.
 * It refers to no row: it outlives all of them.
 */
@Entity('events')
@Index('events_position', ['position'], { unique: true })
@Index('events_unsequenced', ['id'], { where: 'position IS NULL' })
@Index('events_of_job', ['job', 'position'])
export class Event {
  /** Drawn before the commit: of two transactions the later id may be seen first, so clients read by `position`. */
  @PrimaryGeneratedColumn('identity', {
    type: 'bigint',
    generatedIdentity: 'ALWAYS',
    primaryKeyConstraintName: 'events_pkey',
  })
  id!: string;

  /** Its place among the committed events; null until the sequencer has seen it. */
  @Column('bigint', { nullable: true })
  position!: string | null;

  @Column('timestamptz', { default: () => 'clock_timestamp()' })
  at!: Date;

  @Column('text')
  type!: EventType;

  @Column('uuid', { name: 'job_id', nullable: true })
  jobId!: string | null;

  /** Name of the job; a token with a scope sees events by it. */
  @Column('text', { nullable: true })
  job!: string | null;

  @Column('int', { nullable: true })
  deployment!: number | null;

  @Column('int', { nullable: true })
  attempt!: number | null;

  @Column('text', { nullable: true })
  instance!: string | null;

  /** `token:<id>`, `admin`, `anonymous`, `scheduler`, `fleet` or `agent`. */
  @Column('text')
  actor!: string;

  @Column('jsonb', { default: {} })
  cause!: object;

  @Column('jsonb', { default: {} })
  data!: object;
}
