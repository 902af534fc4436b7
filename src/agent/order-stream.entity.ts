import { Column, Entity, JoinColumn, OneToOne, PrimaryColumn } from 'typeorm';
import { Order } from './order.entity.js';

/** What came of a stream that an order asked for: its newest lines, for whoever plans by them. */
@Entity('order_streams')
export class OrderStream {
  @PrimaryColumn('text', { name: 'instance_id', primaryKeyConstraintName: 'order_streams_pkey' })
  instanceId!: string;

  @PrimaryColumn('int', { primaryKeyConstraintName: 'order_streams_pkey' })
  number!: number;

  @OneToOne(() => Order, { onDelete: 'CASCADE' })
  @JoinColumn([
    { name: 'instance_id', referencedColumnName: 'instanceId', foreignKeyConstraintName: 'order_streams_order' },
    { name: 'number', referencedColumnName: 'number', foreignKeyConstraintName: 'order_streams_order' },
  ])
  order?: Order;

  /** Where it goes on, `<seconds>.<nine digits>`; also which state whoever stores more of it stands on. */
  @Column('text')
  since!: string;

  /** Whole lines, 64 KiB of the newest at most. */
  @Column('text')
  content!: string;

  @Column('timestamptz', { name: 'updated_at' })
  updatedAt!: Date;
}
