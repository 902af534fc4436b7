import type { Pool, PoolClient, QueryResult, QueryResultRow } from 'pg';
import type { DataSource } from 'typeorm';

export type Queryable = {
  query<Row extends QueryResultRow>(text: string, values?: readonly unknown[]): Promise<Row[]>;
  /** As `query`, prepared once per connection under this name: for statements run often. */
  prepared<Row extends QueryResultRow>(name: string, text: string, values?: readonly unknown[]): Promise<Row[]>;
};

/** Plain SQL over TypeORM's own pool: for hot reads and set-based passes, where hydration costs twice the time. */
export class Database implements Queryable {
  private readonly pool: Pool;

  constructor(readonly dataSource: DataSource) {
    this.pool = (dataSource.driver as unknown as { master: Pool }).master;
  }

  async query<Row extends QueryResultRow>(text: string, values: readonly unknown[] = []): Promise<Row[]> {
    return rowsOf(await this.pool.query<Row>(text, [...values]));
  }

  async prepared<Row extends QueryResultRow>(
    name: string,
    text: string,
    values: readonly unknown[] = [],
  ): Promise<Row[]> {
    return rowsOf(await this.pool.query<Row>({ name, text, values: [...values] }));
  }

  /** Runs `work` in one transaction. No network call belongs inside: it would hold row locks for its length. */
  async transaction<T>(work: (transaction: Queryable) => Promise<T>): Promise<T> {
    const client = await this.pool.connect();
    let isBroken = false;
    // The pool listens only to idle connections. Without a listener a connection lost in here would end the process,
    // though the statement's own rejection tells all there is to tell.
    const onError = (): void => void (isBroken = true);
    client.on('error', onError);
    try {
      await client.query('BEGIN');
      const result = await work(queryableOf(client));
      await client.query('COMMIT');
      return result;
    } catch (error) {
      await client.query('ROLLBACK').catch(() => (isBroken = true));
      throw error;
    } finally {
      client.release(isBroken);
      client.off('error', onError);
    }
  }
}

function queryableOf(client: PoolClient): Queryable {
  return {
    query: async <Row extends QueryResultRow>(text: string, values: readonly unknown[] = []) =>
      rowsOf(await client.query<Row>(text, [...values])),
    prepared: async <Row extends QueryResultRow>(name: string, text: string, values: readonly unknown[] = []) =>
      rowsOf(await client.query<Row>({ name, text, values: [...values] })),
  };
}

function rowsOf<Row extends QueryResultRow>(result: QueryResult<Row>): Row[] {
  return result.rows;
}
