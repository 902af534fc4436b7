import { Column, Entity, Index, JoinColumn, ManyToOne, PrimaryColumn } from 'typeorm';
import { Attempt } from '../deployments/attempt.entity.js';
import { Instance } from './instance.entity.js';

/** One instance given to one attempt, for life: both columns are unique, an instance is never used twice. */
@Entity('assignments')
@Index('assignments_instance_once', ['instanceId'], { unique: true })
export class Assignment {
  @PrimaryColumn('uuid', { name: 'attempt_id', primaryKeyConstraintName: 'assignments_pkey' })
  attemptId!: string;

  @ManyToOne(() => Attempt, { onDelete: 'CASCADE' })
  @JoinColumn({ name: 'attempt_id', foreignKeyConstraintName: 'assignments_attempt' })
  attempt?: Attempt;

  @Column('text', { name: 'instance_id' })
  instanceId!: string;

  @ManyToOne(() => Instance)
  @JoinColumn({ name: 'instance_id', foreignKeyConstraintName: 'assignments_instance' })
  instance?: Instance;

  @Column('timestamptz', { name: 'assigned_at', default: () => 'clock_timestamp()' })
  assignedAt!: Date;
}
