import { SpanKind, SpanStatusCode, type Tracer } from '@opentelemetry/api';
import { AwsError } from '../aws/aws-error.js';
import { ec2Calls } from '../aws/ec2-calls.js';
import { statements } from '../database/database.js';
import { passes } from '../process/loop.js';
import { currentOrigin, type Origin } from '../process/origin.js';
import { contextOf, spanContextOf } from './span-ids.js';

/** A followed log runs statements again and again within one request. */
const MOST_STATEMENTS = 100;
const MOST_IDS = 20;

/** Spans of EC2 calls, fleet passes, and the statements of traced requests. @returns a function that unsubscribes */
export function traceCalls(tracer: Tracer): () => void {
  const statementsOf = new WeakMap<Origin, number>();
  const startedAt = (durationMs: number): Date => new Date(Date.now() - durationMs);
  const leave = [
    statements.onEnd(({ facts: { name, text }, durationMs, error }) => {
      const origin = currentOrigin();
      // Passes look for work every second: only what a request waits for is worth a span.
      if (origin?.traceparent === undefined) return;
      const count = (statementsOf.get(origin) ?? 0) + 1;
      statementsOf.set(origin, count);
      if (count > MOST_STATEMENTS) return;
      const operation = /^\s*(\w+)/.exec(text)?.[1]?.toUpperCase() ?? 'STATEMENT';
      const span = tracer.startSpan(
        name ?? operation,
        {
          kind: SpanKind.CLIENT,
          startTime: startedAt(durationMs),
          // Never the text or its values.
          attributes: { 'db.system.name': 'postgresql', 'db.operation.name': operation },
        },
        contextOf(spanContextOf(origin.traceparent)),
      );
      if (error !== undefined) span.setStatus({ code: SpanStatusCode.ERROR });
      span.end();
    }),
    ec2Calls.onEnd(({ facts: { action, launchId, instanceIds }, durationMs, error }) => {
      const origin = currentOrigin();
      const parent = origin?.traceparent === undefined ? undefined : spanContextOf(origin.traceparent);
      const span = tracer.startSpan(
        `EC2/${action}`,
        {
          kind: SpanKind.CLIENT,
          startTime: startedAt(durationMs),
          attributes: {
            'rpc.system': 'aws-api',
            'rpc.service': 'EC2',
            'rpc.method': action,
            ...(launchId !== undefined && { 'scheduler.launchId': launchId }),
            ...(instanceIds && { 'scheduler.instanceIds': instanceIds.slice(0, MOST_IDS) }),
            ...(error instanceof AwsError && { 'error.type': error.code, 'scheduler.reason': error.reason }),
          },
        },
        contextOf(parent),
      );
      if (error !== undefined) span.setStatus({ code: SpanStatusCode.ERROR });
      span.end();
    }),
    passes.subscribe(({ pass, durationMs, lagsMs }) => {
      // The job pass has one that leads to its deployments.
      if (pass === 'job') return;
      tracer
        .startSpan(`${pass}-pass`, {
          startTime: startedAt(durationMs),
          attributes: { 'scheduler.batchSize': lagsMs.length },
        })
        .end();
    }),
  ];
  return () => leave.forEach((each) => each());
}
