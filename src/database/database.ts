import { AsyncLocalStorage } from 'node:async_hooks';
import type { Pool, PoolClient, QueryResult, QueryResultRow } from 'pg';
import type { DataSource } from 'typeorm';
import { Operation } from '../process/observation.js';

export type Queryable = {
  query<Row extends QueryResultRow>(text: string, values?: readonly unknown[]): Promise<Row[]>;
  /** As `query`, prepared once per connection under this name: for statements run often. */
  prepared<Row extends QueryResultRow>(name: string, text: string, values?: readonly unknown[]): Promise<Row[]>;
};

/** Statements, except those that begin and end transactions. `name`: of a prepared statement. */
export const statements = new Operation<{ readonly name?: string; readonly text: string }>('statement');

type Unit = { readonly transaction: Queryable; readonly afterCommit: (() => void)[]; isOpen: boolean };

/** Plain SQL over TypeORM's own pool: for hot reads and set-based passes, where hydration costs twice the time. */
export class Database implements Queryable {
  private readonly pool: Pool;
  private readonly units = new AsyncLocalStorage<Unit>();

  constructor(readonly dataSource: DataSource) {
    this.pool = (dataSource.driver as unknown as { master: Pool }).master;
  }

  async query<Row extends QueryResultRow>(text: string, values: readonly unknown[] = []): Promise<Row[]> {
    const unit = this.unit();
    if (unit) return await unit.transaction.query(text, values);
    return await statements.run({ text }, async () => rowsOf(await this.pool.query<Row>(text, [...values])));
  }

  async prepared<Row extends QueryResultRow>(
    name: string,
    text: string,
    values: readonly unknown[] = [],
  ): Promise<Row[]> {
    const unit = this.unit();
    if (unit) return await unit.transaction.prepared(name, text, values);
    return await statements.run({ name, text }, async () =>
      rowsOf(await this.pool.query<Row>({ name, text, values: [...values] })),
    );
  }

  /** Use of this process's pool. `waiting`: calls that wait for a connection. */
  get poolUse(): { readonly max: number; readonly total: number; readonly idle: number; readonly waiting: number } {
    const { options, totalCount, idleCount, waitingCount } = this.pool;
    return { max: options.max, total: totalCount, idle: idleCount, waiting: waitingCount };
  }

  /** Runs `work` in one transaction. No network call belongs inside: it would hold row locks for its length. */
  async transaction<T>(work: (transaction: Queryable) => Promise<T>): Promise<T> {
    const unit = this.unit();
    if (unit) return await work(unit.transaction);
    const client = await this.pool.connect();
    let isBroken = false;
    let lostBy: Error | undefined;
    // The pool listens only to idle connections. Without a listener a connection lost in here would end the process,
    // though the statement's own rejection reports the failure.
    const onError = (error: Error): void => {
      isBroken = true;
      lostBy ??= error;
    };
    client.on('error', onError);
    try {
      await client.query('BEGIN');
      const result = await work(queryableOf(client));
      await client.query('COMMIT');
      return result;
    } catch (error) {
      await client.query('ROLLBACK').catch(() => (isBroken = true));
      // Only the connection's error says why Postgres ended it, for example that it was idle for too long.
      throw lostBy && 'code' in lostBy && /^[0-9A-Z]{5}$/.test(String(lostBy.code)) ? lostBy : error;
    } finally {
      client.release(isBroken);
      client.off('error', onError);
    }
  }

  /**
   * Runs `work` in one transaction that includes every statement `work` runs on this Database, however deep inside: for
   * parts that do not know of each other, like a change and the stored response to it.
   */
  async unitOfWork<T>(work: (transaction: Queryable) => Promise<T>): Promise<T> {
    const afterCommit: (() => void)[] = [];
    const result = await this.transaction(async (transaction) => {
      const unit: Unit = { transaction, afterCommit, isOpen: true };
      try {
        return await this.units.run(unit, () => work(transaction));
      } finally {
        // Statements of `work` that come later use connections of their own.
        unit.isOpen = false;
      }
    });
    for (const task of afterCommit) task();
    return result;
  }

  /** Runs `task` once all statements so far are committed: now, or after the unit of work that is open. */
  afterCommit(task: () => void): void {
    const unit = this.unit();
    if (unit) unit.afterCommit.push(task);
    else task();
  }

  private unit(): Unit | undefined {
    const unit = this.units.getStore();
    return unit?.isOpen ? unit : undefined;
  }
}

function queryableOf(client: PoolClient): Queryable {
  return {
    query: async <Row extends QueryResultRow>(text: string, values: readonly unknown[] = []) =>
      await statements.run({ text }, async () => rowsOf(await client.query<Row>(text, [...values]))),
    prepared: async <Row extends QueryResultRow>(name: string, text: string, values: readonly unknown[] = []) =>
      await statements.run({ name, text }, async () =>
        rowsOf(await client.query<Row>({ name, text, values: [...values] })),
      ),
  };
}

function rowsOf<Row extends QueryResultRow>(result: QueryResult<Row>): Row[] {
  return result.rows;
}
