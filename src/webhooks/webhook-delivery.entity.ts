import { Check, Column, Entity, Index, JoinColumn, ManyToOne, PrimaryColumn } from 'typeorm';
import { Webhook } from './webhook.entity.js';

/** One event on its way to one webhook, with what became of it. */
@Entity('webhook_deliveries')
@Check('webhook_deliveries_status', `status IN ('pending', 'delivered', 'failed', 'cancelled')`)
@Index('webhook_deliveries_list', ['webhookId', 'createdAt', 'id'])
@Index('webhook_deliveries_unqueued', ['createdAt'], { where: 'NOT queued' })
@Index('webhook_deliveries_age', ['createdAt'])
export class WebhookDelivery {
  /** The receiver’s `webhook-id`: the same at every try. */
  @PrimaryColumn('uuid', { primaryKeyConstraintName: 'webhook_deliveries_pkey' })
  id!: string;

  @Column('uuid', { name: 'webhook_id' })
  webhookId!: string;

  @ManyToOne(() => Webhook, { onDelete: 'CASCADE' })
  @JoinColumn({ name: 'webhook_id', foreignKeyConstraintName: 'webhook_deliveries_webhook' })
  webhook?: Webhook;

  /** Of the event; null = a ping. */
  @Column('bigint', { nullable: true })
  position!: string | null;

  @Column('text')
  type!: string;

  @Column('text', { nullable: true })
  job!: string | null;

  /** What is sent and signed, byte by byte the same at every try. */
  @Column('text')
  body!: string;

  @Column('text', { default: 'pending' })
  status!: DeliveryStatus;

  /** Whether the queue has it, or had it. */
  @Column('boolean', { default: false })
  queued!: boolean;

  @Column('int', { default: 0 })
  attempts!: number;

  /** Of the latest try, as the columns up to `attemptedAt`. */
  @Column('text', { nullable: true })
  fault!: string | null;

  @Column('int', { name: 'answer_status', nullable: true })
  answerStatus!: number | null;

  @Column('int', { name: 'latency_ms', nullable: true })
  latencyMs!: number | null;

  @Column('timestamptz', { name: 'attempted_at', nullable: true })
  attemptedAt!: Date | null;

  @Column('timestamptz', { name: 'next_attempt_at', nullable: true })
  nextAttemptAt!: Date | null;

  @Column('timestamptz', { name: 'created_at', default: () => 'clock_timestamp()' })
  createdAt!: Date;

  @Column('timestamptz', { name: 'settled_at', nullable: true })
  settledAt!: Date | null;
}

/** `cancelled`: the webhook was disabled first. */
export const DELIVERY_STATUSES = ['pending', 'delivered', 'failed', 'cancelled'] as const;
export type DeliveryStatus = (typeof DELIVERY_STATUSES)[number];
