import { AsyncLocalStorage } from 'node:async_hooks';
import { Injectable } from '@nestjs/common';
import type { Pool, PoolClient, QueryResultRow } from 'pg';
import { DataSource } from 'typeorm';
import { Operation } from '../process/observation.js';
import type { Statement } from './statement.js';

export type Queryable = {
  /** @returns the rows of a declared statement */
  run<Values extends readonly unknown[], Row>(statement: Statement<Values, Row>, values: Values): Promise<Row[]>;
  /** SQL that is not declared: for tests, and libraries that bring their own. */
  query<Row extends QueryResultRow>(text: string, values?: readonly unknown[]): Promise<Row[]>;
};

/** Statements, except those that begin and end transactions. `name`: of a declared one. */
export const statements = new Operation<{ readonly name?: string; readonly text: string }>('statement');

type Unit = { readonly transaction: Queryable; readonly afterCommit: (() => void)[]; isOpen: boolean };

/** Plain SQL over TypeORM's own pool: for hot reads and set-based passes, where hydration costs twice the time. */
@Injectable()
export class Database implements Queryable {
  // `private`, as tests put objects of their own in front of this one, and those have no `#` names.
  private readonly pool: Pool;
  private readonly units = new AsyncLocalStorage<Unit>();

  constructor(readonly dataSource: DataSource) {
    this.pool = (dataSource.driver as unknown as { master: Pool }).master;
  }

  async run<Values extends readonly unknown[], Row>(statement: Statement<Values, Row>, values: Values): Promise<Row[]> {
    const unit = this.unit();
    return unit ? await unit.transaction.run(statement, values) : await runOn(this.pool, statement, values);
  }

  async query<Row extends QueryResultRow>(text: string, values: readonly unknown[] = []): Promise<Row[]> {
    const unit = this.unit();
    return unit ? await unit.transaction.query(text, values) : await queryOn(this.pool, text, values);
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

type Connection = Pick<Pool | PoolClient, 'query'>;

function queryableOf(client: PoolClient): Queryable {
  return {
    run: (statement, values) => runOn(client, statement, values),
    query: (text, values = []) => queryOn(client, text, values),
  };
}

async function runOn<Values extends readonly unknown[], Row>(
  connection: Connection,
  { name, sql: text, isPrepared }: Statement<Values, Row>,
  values: Values,
): Promise<Row[]> {
  const config = { ...(isPrepared && { name }), text, values: [...values] };
  return await statements.run({ name, text }, async () => (await connection.query(config)).rows as Row[]);
}

async function queryOn<Row extends QueryResultRow>(
  connection: Connection,
  text: string,
  values: readonly unknown[],
): Promise<Row[]> {
  return await statements.run({ text }, async () => (await connection.query<Row>(text, [...values])).rows);
}
