import { Injectable } from '@nestjs/common';
import { Database, type Queryable } from '../database/database.js';
import { Signals } from '../database/signals.js';
import { statement, t } from '../database/statement.js';
import { Problem } from '../http/problem.js';
import { currentAuthor } from '../events/author.js';
import { FleetOverview } from './fleet-overview.js';
import type { InstanceResponse } from './fleet.schema.js';
import { appendInstanceEvents } from './instance-events.js';

/** Stores what an operator decides about an instance; the fleet carries it out. */
@Injectable()
export class InstanceIntents {
  constructor(
    private readonly database: Database,
    private readonly signals: Signals,
    private readonly overview: FleetOverview,
  ) {}

  /** Ends an instance in quarantine. One that is to end, or has ended, is returned unchanged. @throws Problem */
  async retire(id: string): Promise<InstanceResponse> {
    const retired = await this.database.transaction((transaction) => retire(transaction, id));
    if (retired) this.signals.shapesDue();
    const instance = await this.overview.find(id);
    if (!instance) throw new Problem('instance-not-found', `There is no instance ${id}.`);
    if (retired || instance.retireReason !== null || instance.terminatedAt !== null) return instance;
    const detail = `The instance ${id} is not in quarantine: stop or delete its job, and it ends.`;
    throw new Problem('not-quarantined', detail);
  }
}

/** @returns whether this call changed it */
async function retire(transaction: Queryable, id: string): Promise<boolean> {
  const reason = 'retired-by-operator';
  const rows = await transaction.run(RETIRE, [id, reason]);
  const events = rows.map(() => ({ type: 'instance.retiring', instance: id, reason }) as const);
  await appendInstanceEvents(transaction, events, currentAuthor());
  return rows.length > 0;
}

const RETIRE = statement('fleet-retire-by-operator', { values: [t.text, t.text], isPrepared: false })(`
  UPDATE instances SET retire_reason = $2, retired_at = clock_timestamp()
  WHERE id = $1 AND quarantined AND retire_reason IS NULL AND terminated_at IS NULL RETURNING id`);
