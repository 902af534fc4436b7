import { Check, Column, Entity, PrimaryColumn } from 'typeorm';
import type { SnapshotState } from './plan-snapshots.js';

/** One CreateSnapshot call, written down before it is made, and what became of it. Its id is a tag of the snapshot. */
@Entity('snapshots')
@Check('snapshots_state', `state IN ('asked', 'pending', 'completed', 'failed', 'deleted')`)
export class Snapshot {
  @PrimaryColumn('uuid', { primaryKeyConstraintName: 'snapshots_pkey' })
  id!: string;

  @Column('text', { name: 'volume_id' })
  volumeId!: string;

  /** EC2's; null until it answered or showed it. */
  @Column('text', { name: 'snapshot_id', nullable: true })
  snapshotId!: string | null;

  @Column('text')
  state!: SnapshotState;

  /** Of one that only EC2 told of: when it began. */
  @Column('timestamptz', { name: 'asked_at' })
  askedAt!: Date;

  /** Of a failure: when an event told of it. Null: another one had told of the same day. */
  @Column('timestamptz', { name: 'told_at', nullable: true })
  toldAt!: Date | null;

  /** Of what failed or was deleted. */
  @Column('text', { nullable: true })
  reason!: string | null;

  @Column('text', { nullable: true })
  message!: string | null;

  @Column('timestamptz', { name: 'changed_at', default: () => 'clock_timestamp()' })
  changedAt!: Date;
}
