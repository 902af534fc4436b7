import { Column, Entity, PrimaryColumn } from 'typeorm';

/** Credentials of a private registry, for pulls. */
@Entity('registries')
export class Registry {
  /** As the name of an image begins: `registry.example.com:5000`, `docker.io`. */
  @PrimaryColumn('text', { primaryKeyConstraintName: 'registries_pkey' })
  host!: string;

  @Column('text')
  username!: string;

  /** The password; see secrets/sealed.ts. */
  @Column('bytea')
  sealed!: Buffer;

  @Column('timestamptz', { name: 'created_at', default: () => 'clock_timestamp()' })
  createdAt!: Date;

  @Column('timestamptz', { name: 'updated_at', default: () => 'clock_timestamp()' })
  updatedAt!: Date;
}
