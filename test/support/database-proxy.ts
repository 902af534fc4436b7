import { Relay } from './relay.ts';

export type DatabaseProxy = {
  /** Of the database, by way of the proxy. */
  readonly url: string;
  cut(): void;
  mend(): void;
  close(): Promise<void>;
};

/** Stands before Postgres. While it is cut, it closes each new connection, as a balancer before a dead server does. */
export async function startDatabaseProxy(databaseUrl: string): Promise<DatabaseProxy> {
  const url = new URL(databaseUrl);
  const relay = await Relay.to(Number(url.port), url.hostname);
  url.host = `127.0.0.1:${relay.port}`;
  return {
    url: url.href,
    cut: () => relay.cut('refused'),
    mend: () => relay.mend(),
    close: () => relay.stop(),
  };
}
