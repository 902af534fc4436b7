import { Counter, Gauge, type Registry } from 'prom-client';
import type { OrderDesk } from '../agent/order-desk.js';
import { registrations } from '../agent/registration.service.js';

/** @returns how to leave */
export function registerAgentMetrics(registry: Registry, desk: Pick<OrderDesk, 'parkedCount'>): () => void {
  const registers = [registry];
  const total = new Counter({
    name: 'scheduler_agent_registrations_total',
    help: 'Registrations of agents, by outcome: registered, or why not.',
    labelNames: ['outcome'],
    registers,
  });
  new Gauge({
    name: 'scheduler_agents_polling',
    help: 'Agents whose poll is parked until there is an order for them.',
    registers,
    collect() {
      this.set(desk.parkedCount);
    },
  });
  return registrations.hear(({ outcome }) => total.inc({ outcome }));
}
