import { Check, Column, Entity, Index, JoinColumn, ManyToOne, PrimaryColumn } from 'typeorm';
import { Attempt } from '../deployments/attempt.entity.js';
import type { OrderAnswer } from '../docker/order-answer.js';
import type { OrderSpec } from '../docker/order.js';

/** One order to one agent and its answer. The job pass writes the order, the agent's endpoints the answer. */
@Entity('orders')
@Check('orders_kind', `kind IN ('docker', 'probe', 'dead-man', 'shutdown', 'watch-spot', 'logs', 'stream')`)
@Index('orders_untaken', ['createdAt'], { where: 'taken_at IS NULL' })
@Index('orders_by_attempt', ['attemptId', 'purpose', 'number'])
@Index('orders_unanswered', ['instanceId', 'number'], { where: 'answered_at IS NULL' })
export class Order {
  @PrimaryColumn('text', { name: 'instance_id', primaryKeyConstraintName: 'orders_pkey' })
  instanceId!: string;

  /** 1, 2, 3 … per instance. */
  @PrimaryColumn('int', { primaryKeyConstraintName: 'orders_pkey' })
  number!: number;

  @Column('uuid', { name: 'attempt_id' })
  attemptId!: string;

  @ManyToOne(() => Attempt, { onDelete: 'CASCADE' })
  @JoinColumn({ name: 'attempt_id', foreignKeyConstraintName: 'orders_attempt' })
  attempt?: Attempt;

  /** What the planner made it for: pull, create, start, probe … */
  @Column('text')
  purpose!: string;

  @Column('text')
  kind!: OrderSpec['kind'];

  @Column('jsonb')
  spec!: OrderSpec;

  @Column('timestamptz', { name: 'created_at', default: () => 'clock_timestamp()' })
  createdAt!: Date;

  /** The agent has it on disk. */
  @Column('timestamptz', { name: 'taken_at', nullable: true })
  takenAt!: Date | null;

  /** First answer; for a probe the latest transition. */
  @Column('timestamptz', { name: 'answered_at', nullable: true })
  answeredAt!: Date | null;

  /** Docker's HTTP status; 0 = Docker could not be reached or did not answer in time. */
  @Column('int', { name: 'result_status', nullable: true })
  resultStatus!: number | null;

  @Column('text', { name: 'result_error', nullable: true })
  resultError!: string | null;

  /** What the answer says; null until there is one, and on answers that were stored before this column was there. */
  @Column('jsonb', { nullable: true })
  answer!: OrderAnswer | null;

  /** The end of the body. It is parsed again only where `answer` is null. */
  @Column('bytea', { name: 'result_body', nullable: true })
  resultBody!: Buffer | null;

  @Column('text', { name: 'probe_state', nullable: true })
  probeState!: 'healthy' | 'unhealthy' | null;
}
