import { Counter, Histogram, type Registry } from 'prom-client';
import { TRY_OUTCOMES, webhookTries } from '../webhooks/deliverer.js';

/** @returns a function that unsubscribes */
export function registerWebhookMetrics(registry: Registry): () => void {
  const registers = [registry];
  const tries = new Counter({
    name: 'scheduler_webhook_tries_total',
    help: 'Tries to deliver an event to a webhook: delivered, to be tried again, or given up.',
    labelNames: ['outcome'],
    registers,
  });
  const duration = new Histogram({
    name: 'scheduler_webhook_try_duration_seconds',
    help: 'How long receivers took to answer, or until the try was given up.',
    buckets: [0.025, 0.1, 0.25, 0.5, 1, 2.5, 5, 10],
    registers,
  });
  for (const outcome of TRY_OUTCOMES) tries.inc({ outcome }, 0);
  return webhookTries.subscribe(({ outcome, latencyMs }) => {
    tries.inc({ outcome });
    duration.observe(latencyMs / 1000);
  });
}
