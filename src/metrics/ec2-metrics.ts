import { Counter, Histogram, type Registry } from 'prom-client';
import { AwsError, type AwsErrorKind } from '../aws/aws-error.js';
import { ACTIONS } from '../aws/call-budget.js';
import { ec2Calls } from '../aws/ec2-calls.js';

/** @returns a function that unsubscribes */
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
  // Prometheus cannot tell a series that begins at 1 from one that always was: rare outcomes begin at 0.
  for (const action of ACTIONS) for (const outcome of OUTCOMES) calls.inc({ action, outcome }, 0);
  return ec2Calls.onEnd(({ facts: { action }, durationMs, error }) => {
    calls.inc({ action, outcome: outcomeOf(error) });
    duration.observe({ action }, durationMs / 1000);
  });
}

const KINDS: Readonly<Record<AwsErrorKind, true>> = {
  throttled: true,
  capacity: true,
  quota: true,
  address: true,
  'not-found': true,
  'token-mismatch': true,
  'token-spent': true,
  account: true,
  permission: true,
  invalid: true,
  'unknown-outcome': true,
};
const OUTCOMES = ['ok', 'timed-out', ...Object.keys(KINDS)];

function outcomeOf(error: unknown): string {
  if (error === undefined) return 'ok';
  // The EC2 client throws every error as an AwsError.
  if (!(error instanceof AwsError)) return 'unknown-outcome';
  return error.reason === 'ec2-timed-out' ? 'timed-out' : error.kind;
}
