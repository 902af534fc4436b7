import { ROOT_CONTEXT, type SpanContext, SpanKind, SpanStatusCode, type Tracer } from '@opentelemetry/api';
import { type Sampler, SamplingDecision } from '@opentelemetry/sdk-trace';
import { isEnded } from '../deployments/deployment-status.js';
import { jobPlans } from '../scheduler/job-pass.js';
import { movedBy } from '../scheduler/plan/plan-changes.js';
import type { DeploymentFacts, JobFacts } from '../scheduler/plan/plan-facts.js';
import { type ChosenIds, contextOf, deploymentSpanId, deploymentTraceId, spanContextOf } from './span-ids.js';

export type DeploymentTracing = { readonly tracer: Tracer; readonly ids: ChosenIds; readonly sampler: Sampler };

const SAMPLED = 1;

/**
 * A span of every deployment, from the request to its being active or its end, with one for each phase of its attempts
 * below it; in the trace of the request that made it. Passes of any process advance it, days apart, so the ids of its
 * span follow from its row. @returns a function that unsubscribes
 */
export function traceDeployments({ tracer, ids, sampler }: DeploymentTracing): () => void {
  return jobPlans.subscribe(({ planned, now, durationMs }) => {
    const touched: SpanContext[] = [];
    for (const { job, plan } of planned) {
      const moved = movedBy(job, plan);
      for (const { before, after } of moved.deployments) {
        const place = placeOf(before, sampler);
        touched.push(place.self);
        const to = before.activeAt === null ? (after.activeAt ?? (isEnded(after.status) ? now : null)) : null;
        if (to === null) continue;
        const span = ids.with(place.self, () =>
          tracer.startSpan(
            'deployment',
            {
              startTime: before.createdAt,
              attributes: {
                ...idsOf(job, before),
                'scheduler.status': after.status,
                ...(after.reason !== null && { 'scheduler.reason': after.reason }),
              },
            },
            contextOf(place.parent),
          ),
        );
        if (after.status === 'failed') span.setStatus({ code: SpanStatusCode.ERROR });
        span.end(to);
      }
      for (const { deployment, before, after, since } of moved.attempts) {
        // Meant to last: its end comes when the trace is long read.
        if (before.phase === 'healthy') continue;
        const { self } = placeOf(deployment, sampler);
        const attributes = {
          ...idsOf(job, deployment),
          'scheduler.attempt': before.number,
          ...(before.instance && { 'scheduler.instanceId': before.instance.id }),
          ...(after.phase === 'ended' && after.reason !== null && { 'scheduler.reason': after.reason }),
        };
        tracer.startSpan(`attempt ${before.phase}`, { startTime: since, attributes }, contextOf(self)).end(now);
      }
    }
    tracer
      .startSpan('job-pass', {
        kind: SpanKind.INTERNAL,
        startTime: new Date(Date.now() - durationMs),
        attributes: { 'scheduler.batchSize': planned.length },
        links: touched.map((context) => ({ context })),
      })
      .end();
  });
}

/** The context of a deployment's span, the same in every process. */
function placeOf({ id, origin }: DeploymentFacts, sampler: Sampler): { self: SpanContext; parent?: SpanContext } {
  const spanId = deploymentSpanId(id);
  const parent = origin?.traceparent === undefined ? undefined : spanContextOf(origin.traceparent);
  if (parent) return { self: { ...parent, spanId }, parent };
  const traceId = deploymentTraceId(id);
  const { decision } = sampler.shouldSample(ROOT_CONTEXT, traceId, 'deployment', SpanKind.INTERNAL, {}, []);
  const isSampled = decision === SamplingDecision.RECORD_AND_SAMPLED;
  return { self: { traceId, spanId, traceFlags: isSampled ? SAMPLED : 0, isRemote: true } };
}

function idsOf(job: JobFacts, { id, number, origin }: DeploymentFacts): Record<string, string | number> {
  return {
    'scheduler.jobId': job.id,
    'scheduler.job': job.name,
    'scheduler.deployment': number,
    'scheduler.deploymentId': id,
    ...(origin && { 'scheduler.requestId': origin.requestId }),
  };
}
