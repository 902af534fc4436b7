import { Check, Column, Entity, PrimaryColumn } from 'typeorm';

export type SnapshotState = 'asked' | 'pending' | 'completed' | 'failed' | 'deleted';

/** One CreateSnapshot call, stored before it is made, and its outcome. Its id is a tag of the snapshot. */
@Entity('snapshots')
@Check('snapshots_state', `state IN ('asked', 'pending', 'completed', 'failed', 'deleted')`)
export class Snapshot {
  @PrimaryColumn('uuid', { primaryKeyConstraintName: 'snapshots_pkey' })
  id!: string;

  @Column('text', { name: 'volume_id' })
  volumeId!: string;

  /** EC2's id; null until an answer or a look showed it. */
  @Column('text', { name: 'snapshot_id', nullable: true })
  snapshotId!: string | null;

  @Column('text')
  state!: SnapshotState;

  /** When it was requested; of one that only EC2 showed, when it began. */
  @Column('timestamptz', { name: 'asked_at' })
  askedAt!: Date;

  /** Of a failure: when an event reported it. Null: the event of another failure had, within a day. */
  @Column('timestamptz', { name: 'told_at', nullable: true })
  toldAt!: Date | null;

  /** Why it failed or was deleted. */
  @Column('text', { nullable: true })
  reason!: string | null;

  @Column('text', { nullable: true })
  message!: string | null;

  @Column('timestamptz', { name: 'changed_at', default: () => 'clock_timestamp()' })
  changedAt!: Date;
}
