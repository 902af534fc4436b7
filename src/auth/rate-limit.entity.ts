import { Column, Entity, PrimaryColumn } from 'typeorm';

/** A caller's bucket of requests, of which processes take slices. A row that is missing is a full bucket. */
@Entity('rate_limits')
export class RateLimit {
  @PrimaryColumn('text', { primaryKeyConstraintName: 'rate_limits_pkey' })
  caller!: string;

  /** Requests left at `updated_at`. */
  @Column('double precision')
  available!: number;

  /** The size of the slice that was taken last. */
  @Column('int')
  granted!: number;

  @Column('timestamptz', { name: 'updated_at', default: () => 'clock_timestamp()' })
  updatedAt!: Date;
}
