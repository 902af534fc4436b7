import { Counter, Gauge, type Registry } from 'prom-client';
import type { OrderPolls } from '../agent/order-polls.js';
import { registrations } from '../agent/registration.service.js';

/** @returns a function that unsubscribes */
export function registerAgentMetrics(registry: Registry, polls: Pick<OrderPolls, 'parkedCount'>): () => void {
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
      this.set(polls.parkedCount);
    },
  });
  return registrations.subscribe(({ outcome }) => total.inc({ outcome }));
}
