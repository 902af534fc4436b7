import { join } from 'node:path';
import pg from 'pg';
import { startPostgres, type EmbeddedPostgres } from '../../local/postgres.ts';

/** A Postgres of its own, on one port and one folder for life, that can be taken away and brought back. */
export class ChaosPostgres {
  readonly #directory: string;
  #server: EmbeddedPostgres;
  readonly url: string;
  /** One outage at a time: a second one during it changes nothing. */
  #busy: Promise<void> | undefined;

  private constructor(directory: string, server: EmbeddedPostgres) {
    this.#directory = directory;
    this.#server = server;
    this.url = server.url;
  }

  static async start(directory: string): Promise<ChaosPostgres> {
    const folder = join(directory, 'postgres');
    // Not disposable: without synchronous_commit a crash would lose what was committed, rightly.
    return new ChaosPostgres(folder, await startPostgres({ directory: folder }));
  }

  get isAway(): boolean {
    return this.#busy !== undefined;
  }

  /** `crash`: no goodbye and a recovery from the log, as after kill -9 (SIGQUIT, which leaves no orphans). */
  async restart(how: 'fast' | 'crash', awayMs: number): Promise<boolean> {
    if (this.#busy) return false;
    this.#busy = this.#restart(how, awayMs);
    try {
      await this.#busy;
      return true;
    } finally {
      this.#busy = undefined;
    }
  }

  /** Ends every connection but our own. @returns how many */
  async cutConnections(): Promise<number> {
    if (this.#busy) return 0;
    const rows = await this.query<{ ended: boolean }>(
      `SELECT pg_terminate_backend(pid) AS ended FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'`,
    ).catch(() => []);
    return rows.length;
  }

  /** Resolves once every transaction that had begun by now has ended. @throws when Postgres is away, or after a minute */
  async settled(): Promise<void> {
    const [row] = await this.query<{ now: Date }>('SELECT clock_timestamp() AS now');
    const deadline = performance.now() + 60_000;
    for (;;) {
      const [open] = await this.query<{ count: number }>(
        `SELECT count(*)::int AS count FROM pg_stat_activity
         WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() AND xact_start <= $1`,
        [row?.now],
      );
      if (open?.count === 0) return;
      if (performance.now() > deadline) throw new Error('a transaction does not end');
      await new Promise((done) => setTimeout(done, 100));
    }
  }

  async query<Row extends object>(sql: string, values: readonly unknown[] = []): Promise<Row[]> {
    const client = new pg.Client({ connectionString: this.url, connectionTimeoutMillis: 10_000 });
    client.on('error', () => undefined);
    await client.connect();
    try {
      await client.query(`SET search_path TO "scheduler-jobs"`);
      return (await client.query<Row>(sql, [...values])).rows;
    } finally {
      await client.end().catch(() => undefined);
    }
  }

  async stop(): Promise<void> {
    await this.#busy?.catch(() => undefined);
    await this.#server.stop();
  }

  async #restart(how: 'fast' | 'crash', awayMs: number): Promise<void> {
    const { port } = this.#server;
    if (how === 'crash') {
      const ended = new Promise<void>((done) => this.#server.onExit(() => done()));
      process.kill(this.#server.pid, 'SIGQUIT');
      await ended;
    } else await this.#server.stop();
    await new Promise((done) => setTimeout(done, awayMs));
    this.#server = await startPostgres({ directory: this.#directory, port });
  }
}
