import { type Span, SpanKind, SpanStatusCode, type Tracer } from '@opentelemetry/api';
import { type Exchange, exchangesBegun, exchangesEnded } from '../http/exchange.js';
import { isSilent, requestFieldsOf } from '../http/request-log.js';
import { contextOf, spanContextOf, traceparentOf } from './span-ids.js';

/** A span of every request except those machines send all day. @returns a function that unsubscribes */
export function traceExchanges(tracer: Tracer): () => void {
  // By the request's own object: the end is published for a client that hangs up early as well.
  const spans = new WeakMap<Exchange['request'], Span>();
  const leave = [
    exchangesBegun.subscribe((exchange) => {
      const { request, route } = exchange;
      if (isSilent(route)) return;
      const given = request.headers['traceparent'];
      const parent = typeof given === 'string' ? spanContextOf(given) : undefined;
      const span = tracer.startSpan(`${request.method} ${route}`, { kind: SpanKind.SERVER }, contextOf(parent));
      spans.set(request, span);
      exchange.traceparent = traceparentOf(span.spanContext());
    }),
    exchangesEnded.subscribe((ended) => {
      const span = spans.get(ended.request);
      if (!span) return;
      const { requestId, caller, job, deployment, instanceId } = requestFieldsOf(ended);
      span.setAttributes({
        'http.request.method': ended.request.method,
        'http.route': ended.route,
        'http.response.status_code': ended.status,
        ...attributesOf({ requestId, caller, job, deployment, instanceId }),
      });
      if (ended.status >= 500) span.setStatus({ code: SpanStatusCode.ERROR });
      span.end();
    }),
  ];
  return () => leave.forEach((each) => each());
}

/** Ids under the names they have in log lines. */
function attributesOf(fields: Readonly<Record<string, unknown>>): Record<string, string | number> {
  return Object.fromEntries(
    Object.entries(fields).flatMap(([name, value]) =>
      typeof value === 'string' || typeof value === 'number' ? [[`scheduler.${name}`, value]] : [],
    ),
  );
}
