import { Column, Entity, Index, PrimaryColumn } from 'typeorm';
import type { ShapeSpec } from '../deployments/shape-spec.js';
import type { CapacityState } from './plan/plan-capacity.js';

/** Everything RunInstances needs; jobs of one shape share a supply. */
@Entity('shapes')
@Index('shapes_due', ['nextPassAt'], { where: 'next_pass_at IS NOT NULL' })
export class Shape {
  /** SHA-256 of the canonical spec, hex. */
  @PrimaryColumn('text', { primaryKeyConstraintName: 'shapes_pkey' })
  key!: string;

  @Column('jsonb')
  spec!: ShapeSpec;

  @Column('timestamptz', { name: 'next_pass_at', nullable: true })
  nextPassAt!: Date | null;

  /** What the fleet stores between passes: failed offers, halved counts, the last launch. */
  @Column('jsonb', { default: {} })
  capacity!: CapacityState;

  /** What waiting attempts wait for, when EC2 refuses: written by the fleet, read by the job pass. */
  @Column('text', { name: 'verdict_reason', nullable: true })
  verdictReason!: string | null;

  @Column('text', { name: 'verdict_message', nullable: true })
  verdictMessage!: string | null;

  @Column('timestamptz', { name: 'verdict_at', nullable: true })
  verdictAt!: Date | null;

  /** EC2 refuses for good (permission, bad AMI, bad subnet): waiting cannot help. */
  @Column('boolean', { name: 'verdict_is_final', default: false })
  verdictIsFinal!: boolean;

  /** Registered spares kept ready. An operator sets it by SQL: no route does. */
  @Column('int', { default: 0 })
  warm!: number;
}
