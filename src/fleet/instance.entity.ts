import { Column, Entity, Index, JoinColumn, ManyToOne, PrimaryColumn } from 'typeorm';
import { Launch } from './launch.entity.js';

/** `gone`: absent from two complete describes; EC2 drops a terminated instance after about an hour. */
export type InstanceState = 'pending' | 'running' | 'stopping' | 'stopped' | 'shutting-down' | 'terminated' | 'gone';

/** An EC2 instance, as last observed. Upserted by id by the RunInstances answer, the sweep and the registration. */
@Entity('instances')
@Index('instances_living', ['shapeKey'], { where: 'terminated_at IS NULL' })
@Index('instances_spare', ['shapeKey'], {
  where: 'terminated_at IS NULL AND retire_reason IS NULL AND assigned = false',
})
@Index('instances_retiring', ['retiredAt'], { where: 'retire_reason IS NOT NULL AND terminated_at IS NULL' })
@Index('instances_by_launch', ['launchId'])
@Index('instances_private_ip', ['privateIp'])
@Index('instances_token', ['tokenHash'], { unique: true })
export class Instance {
  /** EC2's instance id. */
  @PrimaryColumn('text', { primaryKeyConstraintName: 'instances_pkey' })
  id!: string;

  /** Null when no launch of ours is known: in quarantine (it has our tag in EC2), and after its adoption. */
  @Column('uuid', { name: 'launch_id', nullable: true })
  launchId!: string | null;

  @ManyToOne(() => Launch)
  @JoinColumn({ name: 'launch_id', foreignKeyConstraintName: 'instances_launch' })
  launch?: Launch;

  /** The launch its tag names, when quarantined. */
  @Column('text', { name: 'launch_tag', nullable: true })
  launchTag!: string | null;

  /** Number of the last order its agent had when it was adopted: our numbers begin after it. */
  @Column('int', { name: 'orders_after', default: 0 })
  ordersAfter!: number;

  @Column('text', { name: 'shape_key', nullable: true })
  shapeKey!: string | null;

  @Column('text', { default: 'pending' })
  state!: InstanceState;

  @Column('text', { name: 'state_reason', nullable: true })
  stateReason!: string | null;

  @Column('text', { name: 'availability_zone', nullable: true })
  availabilityZone!: string | null;

  @Column('text', { name: 'instance_type', nullable: true })
  instanceType!: string | null;

  @Column('text', { name: 'image_id', nullable: true })
  imageId!: string | null;

  @Column('text', { name: 'private_ip', nullable: true })
  privateIp!: string | null;

  @Column('text', { name: 'public_ip', nullable: true })
  publicIp!: string | null;

  /** EC2's LaunchTime. */
  @Column('timestamptz', { name: 'launched_at', default: () => 'clock_timestamp()' })
  launchedAt!: Date;

  /** When a describe last showed it. */
  @Column('timestamptz', { name: 'observed_at', nullable: true })
  observedAt!: Date | null;

  /** First complete describe that lacked it. */
  @Column('timestamptz', { name: 'missing_since', nullable: true })
  missingSince!: Date | null;

  /** SHA-256 of the agent's own token. */
  @Column('bytea', { name: 'token_hash', nullable: true })
  tokenHash!: Buffer | null;

  @Column('text', { name: 'agent_version', nullable: true })
  agentVersion!: string | null;

  @Column('timestamptz', { name: 'registered_at', nullable: true })
  registeredAt!: Date | null;

  /** Kept in memory by the API processes and flushed in bulk. */
  @Column('timestamptz', { name: 'last_seen_at', nullable: true })
  lastSeenAt!: Date | null;

  /** Set by the fleet when the agent is silent and EC2 gives no sign of life either. */
  @Column('timestamptz', { name: 'unreachable_at', nullable: true })
  unreachableAt!: Date | null;

  /** The intent to terminate: once set, never unset. */
  @Column('text', { name: 'retire_reason', nullable: true })
  retireReason!: string | null;

  @Column('timestamptz', { name: 'retired_at', nullable: true })
  retiredAt!: Date | null;

  @Column('timestamptz', { name: 'terminate_called_at', nullable: true })
  terminateCalledAt!: Date | null;

  @Column('timestamptz', { name: 'terminated_at', nullable: true })
  terminatedAt!: Date | null;

  @Column('boolean', { default: false })
  quarantined!: boolean;

  /** It has a row in assignments: repeated here so that a pass finds the spares among thousands by an index. */
  @Column('boolean', { default: false })
  assigned!: boolean;
}
