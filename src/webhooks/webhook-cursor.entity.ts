import { Column, Entity, PrimaryColumn } from 'typeorm';

/** One row: up to which event there are deliveries. */
@Entity('webhook_cursor')
export class WebhookCursor {
  @PrimaryColumn('int', { primaryKeyConstraintName: 'webhook_cursor_pkey' })
  id!: number;

  @Column('bigint')
  position!: string;
}
