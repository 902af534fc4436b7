import { Column, Entity, JoinColumn, OneToOne, PrimaryColumn } from 'typeorm';
import { Order } from './order.entity.js';

/** The newest lines of a stream that an order requested. No plan makes such orders yet. */
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

  /** Where it goes on, `<seconds>.<nine digits>`; an upload stores more only if this has not changed since it began. */
  @Column('text')
  since!: string;

  /** Whole lines, 64 KiB of the newest at most. */
  @Column('text')
  content!: string;

  @Column('timestamptz', { name: 'updated_at' })
  updatedAt!: Date;
}
