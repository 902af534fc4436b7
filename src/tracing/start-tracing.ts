import { setGlobalErrorHandler } from '@opentelemetry/core';
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-proto';
import {
  defaultResource,
  detectResources,
  resourceAttributesEnvDetector,
  resourceFromAttributes,
} from '@opentelemetry/resources';
import {
  AlwaysOffSampler,
  AlwaysOnSampler,
  BatchSpanProcessor,
  ConsoleSpanExporter,
  ParentBasedSampler,
  type Sampler,
  SimpleSpanProcessor,
  type SpanProcessor,
  TraceIdRatioBasedSampler,
  TracerProvider,
} from '@opentelemetry/sdk-trace';
import type { Config } from '../config/config.js';
import { traceCalls } from './call-spans.js';
import { traceDeployments } from './deployment-spans.js';
import { traceExchanges } from './exchange-spans.js';
import { ChosenIds } from './span-ids.js';

// Loaded only where spans are wanted. They are made by hand, of what process/observation.ts publishes: automatic
// instrumentation patches modules as they are loaded, which ES modules do not allow without a loader of its own, and
// would write whole statements and URLs into spans.

/** A longer time would be missing for the rest of the shutdown. */
const STOP_MS = 3_000;
/** A collector that is away fails every few seconds. */
const WARN_EVERY_MS = 60_000;

/**
 * @param onTrouble called at most once a minute while spans cannot be sent
 * @returns a function that stops it: what was measured is sent first, within 3 s
 */
export function startTracing(settings: Config['tracing'], onTrouble: (error: string) => void): () => Promise<void> {
  let warnedAtMs = -Infinity;
  setGlobalErrorHandler((error) => {
    if (performance.now() - warnedAtMs < WARN_EVERY_MS) return;
    warnedAtMs = performance.now();
    onTrouble(typeof error === 'string' ? error : (error.message ?? error.name ?? 'unknown'));
  });
  const sampler = samplerOf(settings);
  const ids = new ChosenIds();
  const provider = new TracerProvider({
    sampler,
    idGenerator: ids,
    resource: defaultResource()
      .merge(resourceFromAttributes({ 'service.name': settings.serviceName }))
      .merge(detectResources({ detectors: [resourceAttributesEnvDetector] })),
    spanLimits: { attributeValueLengthLimit: 1_000, linkCountLimit: 32 },
    spanProcessors: [processorOf(settings)],
  });
  const tracer = provider.getTracer('scheduler-api');
  const leave = [traceExchanges(tracer), traceCalls(tracer), traceDeployments({ tracer, ids, sampler })];
  return async () => {
    for (const each of leave) each();
    await Promise.race([provider.shutdown().catch(() => undefined), pause(STOP_MS)]);
  };
}

function processorOf({ exporter }: Config['tracing']): SpanProcessor {
  // Endpoint, headers and limits in time come from OTEL_EXPORTER_OTLP_*, read by the exporter.
  if (exporter === 'otlp') return new BatchSpanProcessor({ exporter: new OTLPTraceExporter() });
  return new SimpleSpanProcessor({ exporter: new ConsoleSpanExporter() });
}

function samplerOf({ sampler, sampledShare }: Config['tracing']): Sampler {
  const [, isParentBased, name] = /^(parentbased_)?(.*)$/.exec(sampler) ?? [];
  const root =
    name === 'always_off'
      ? new AlwaysOffSampler()
      : name === 'traceidratio'
        ? new TraceIdRatioBasedSampler(sampledShare)
        : new AlwaysOnSampler();
  return isParentBased === undefined ? root : new ParentBasedSampler({ root });
}

async function pause(ms: number): Promise<void> {
  await new Promise<void>((done) => {
    setTimeout(done, ms).unref();
  });
}
