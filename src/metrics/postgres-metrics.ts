import { Gauge, type Registry } from 'prom-client';
import type { Role } from '../config/config.js';
import type { Database } from '../database/database.js';
import type { Signals } from '../database/signals.js';

/** This process's connections to Postgres. */
export function registerPostgresMetrics(registry: Registry, role: Role, database: Database, signals: Signals): void {
  const registers = [registry];
  new Gauge({
    name: 'scheduler_postgres_connections',
    help: 'Connections of the pool, by state.',
    labelNames: ['role', 'state'],
    registers,
    collect() {
      const { total, idle } = database.poolUse;
      this.set({ role, state: 'idle' }, idle);
      this.set({ role, state: 'busy' }, total - idle);
    },
  });
  new Gauge({
    name: 'scheduler_postgres_connections_max',
    help: 'Connections the pool may have.',
    labelNames: ['role'],
    registers,
    collect() {
      this.set({ role }, database.poolUse.max);
    },
  });
  new Gauge({
    name: 'scheduler_postgres_waiting',
    help: 'Statements and transactions that wait for a connection of the pool.',
    labelNames: ['role'],
    registers,
    collect() {
      this.set({ role }, database.poolUse.waiting);
    },
  });
  new Gauge({
    name: 'scheduler_signals_connected',
    help: '1 while every process receives wake-ups of others; otherwise they are some seconds late.',
    aggregator: 'min',
    registers,
    collect() {
      this.set(signals.isConnected ? 1 : 0);
    },
  });
}
