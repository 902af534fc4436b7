import { Column, Entity, Index, PrimaryColumn } from 'typeorm';

/** A mutating call that was carried out under an `Idempotency-Key`, and its answer. */
@Entity('idempotency_keys')
@Index('idempotency_keys_age', ['createdAt'])
export class IdempotencyKey {
  @PrimaryColumn('text', { primaryKeyConstraintName: 'idempotency_keys_pkey' })
  caller!: string;

  @PrimaryColumn('text', { primaryKeyConstraintName: 'idempotency_keys_pkey' })
  key!: string;

  /** SHA-256 of method, URL, If-Match and body. */
  @Column('bytea')
  fingerprint!: Buffer;

  /** Status, headers and body, encrypted: the answer to a new token holds it. Null only inside the transaction. */
  @Column('bytea', { nullable: true })
  answer!: Buffer | null;

  @Column('timestamptz', { name: 'created_at', default: () => 'clock_timestamp()' })
  createdAt!: Date;
}
