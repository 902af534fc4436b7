import { Counter, Histogram, type Registry } from 'prom-client';
import { AwsError } from '../aws/aws-error.js';
import { ec2Calls } from '../aws/ec2-calls.js';

/** @returns how to leave */
export function registerEc2Metrics(registry: Registry): () => void {
  const registers = [registry];
  const calls = new Counter({
    name: 'scheduler_ec2_calls_total',
    help: 'Calls to EC2, by action and outcome: ok, timed-out, or the class of the error.',
    labelNames: ['action', 'outcome'],
    registers,
  });
  const duration = new Histogram({
    name: 'scheduler_ec2_call_duration_seconds',
    help: 'How long EC2 took to answer.',
    labelNames: ['action'],
    buckets: [0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30],
    registers,
  });
  return ec2Calls.onEnd(({ facts: { action }, durationMs, error }) => {
    calls.inc({ action, outcome: outcomeOf(error) });
    duration.observe({ action }, durationMs / 1000);
  });
}

function outcomeOf(error: unknown): string {
  if (error === undefined) return 'ok';
  if (!(error instanceof AwsError)) return 'failed';
  return error.reason === 'ec2-timed-out' ? 'timed-out' : error.kind;
}
