import { Check, Column, Entity, PrimaryColumn } from 'typeorm';

/** The one row that says which positions were given. Its lock makes sequencers take turns. */
@Entity('event_positions')
@Check('event_positions_only', 'is_only')
export class EventPositions {
  @PrimaryColumn('boolean', { name: 'is_only', default: true, primaryKeyConstraintName: 'event_positions_pkey' })
  isOnly!: boolean;

  /** Never given again, also when the event that has it was deleted. */
  @Column('bigint', { default: 0 })
  last!: string;

  /** Up to here events were too old to be kept: a client that has read less has missed some. */
  @Column('bigint', { name: 'deleted_through', default: 0 })
  deletedThrough!: string;
}
