import { Column, Entity, PrimaryColumn } from 'typeorm';

/** The process of a cluster that may make mutating EC2 calls now. */
@Entity('owner')
export class Owner {
  @PrimaryColumn('text', { primaryKeyConstraintName: 'owner_pkey' })
  cluster!: string;

  /** Empty = released: the budgets are then what was left; else the holder may have spent them all. */
  @Column('text')
  holder!: string;

  /** Grows with every change of holder: a stale owner's transaction finds another epoch and changes nothing. */
  @Column('bigint')
  epoch!: string;

  @Column('timestamptz', { name: 'expires_at' })
  expiresAt!: Date;

  /** Tokens left in our copies of EC2's buckets at the last renewal, by bucket. */
  @Column('jsonb', { nullable: true })
  budgets!: Record<string, number> | null;
}
