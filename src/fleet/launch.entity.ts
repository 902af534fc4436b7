import { Check, Column, Entity, Index, JoinColumn, ManyToOne, PrimaryColumn } from 'typeorm';
import type { AwsErrorKind } from '../aws/aws-error.js';
import { Shape } from './shape.entity.js';

export const LAUNCH_STATUSES = ['planned', 'unknown', 'done', 'failed'] as const;
export type LaunchStatus = (typeof LAUNCH_STATUSES)[number];

/** One RunInstances call, stored whole before it is made; its id is the ClientToken. */
@Entity('launches')
@Check('launches_status', `status IN ('planned', 'unknown', 'done', 'failed')`)
@Index('launches_open', ['shapeKey'], { where: `status IN ('planned', 'unknown')` })
@Index('launches_of_shape', ['shapeKey', 'createdAt'])
@Index('launches_of_time', ['createdAt'])
@Index('launches_secret', ['secretHash'], { unique: true })
export class Launch {
  @PrimaryColumn('uuid', { primaryKeyConstraintName: 'launches_pkey' })
  id!: string;

  @Column('text', { name: 'shape_key' })
  shapeKey!: string;

  @ManyToOne(() => Shape)
  @JoinColumn({ name: 'shape_key', foreignKeyConstraintName: 'launches_shape' })
  shape?: Shape;

  /** Epoch of the owner that planned it. */
  @Column('bigint')
  epoch!: string;

  /** The complete RunInstances input as JSON, encrypted: user-data carries the launch secret. */
  @Column('bytea')
  input!: Buffer;

  @Column('int')
  count!: number;

  @Column('text', { name: 'image_id' })
  imageId!: string;

  @Column('text', { name: 'instance_type' })
  instanceType!: string;

  @Column('text', { name: 'subnet_id', nullable: true })
  subnetId!: string | null;

  @Column('text')
  market!: 'on-demand' | 'spot';

  /** SHA-256 of the launch secret. */
  @Column('bytea', { name: 'secret_hash' })
  secretHash!: Buffer;

  @Column('text', { default: 'planned' })
  status!: LaunchStatus;

  /** What kind of refusal made it fail, or, while open, its last call; null also when it failed for a reason of our own. */
  @Column('text', { nullable: true })
  failure!: AwsErrorKind | null;

  @Column('text', { nullable: true })
  reason!: string | null;

  @Column('text', { nullable: true })
  message!: string | null;

  @Column('int', { default: 0 })
  tries!: number;

  @Column('timestamptz', { name: 'created_at', default: () => 'clock_timestamp()' })
  createdAt!: Date;

  /** When the last call was made that may have taken effect: all that it made is visible some time after. */
  @Column('timestamptz', { name: 'called_at', nullable: true })
  calledAt!: Date | null;

  @Column('timestamptz', { name: 'next_try_at', nullable: true })
  nextTryAt!: Date | null;

  @Column('timestamptz', { name: 'settled_at', nullable: true })
  settledAt!: Date | null;
}
