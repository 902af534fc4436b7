import { z } from 'zod';

// OpenTelemetry's own names: https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/
// The exporter itself reads all others that begin with OTEL_EXPORTER_OTLP_ (timeout, compression, certificates).

const SAMPLERS = [
  'always_on',
  'always_off',
  'traceidratio',
  'parentbased_always_on',
  'parentbased_always_off',
  'parentbased_traceidratio',
] as const;

const endpoint = z.string().refine((text) => {
  const parsed = URL.parse(text);
  return parsed !== null && ['http:', 'https:'].includes(parsed.protocol);
}, 'must be a URL beginning with http:// or https://');

export const tracingSettings = {
  OTEL_EXPORTER_OTLP_ENDPOINT: endpoint.optional().meta({
    description: 'OpenTelemetry collector that spans are sent to, by OTLP over HTTP; switches tracing on.',
    example: 'http://collector:4318',
  }),
  OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: endpoint.optional().meta({
    description: 'The same with its whole path, as `…/v1/traces`; wins over OTEL_EXPORTER_OTLP_ENDPOINT.',
    example: 'http://collector:4318/v1/traces',
  }),
  OTEL_EXPORTER_OTLP_HEADERS: z.string().optional().meta({
    description: 'Headers sent with spans, `name=value,…`, percent-encoded; read by the exporter itself.',
    example: 'authorization=Bearer%20<token>',
    secret: true,
  }),
  OTEL_EXPORTER_OTLP_PROTOCOL: z.literal('http/protobuf', 'must be http/protobuf').prefault('http/protobuf').meta({
    description: '`http/protobuf`; no other protocol is supported.',
    example: 'http/protobuf',
  }),
  OTEL_TRACES_EXPORTER: z.enum(['otlp', 'console', 'none'], 'must be otlp, console or none').optional().meta({
    description:
      '`otlp`, `console` (standard output) or `none`. Default: `otlp` when there is an endpoint, else `none`.',
    example: 'otlp',
  }),
  OTEL_TRACES_SAMPLER: z
    .enum(SAMPLERS, `must be one of ${SAMPLERS.join(', ')}`)
    .prefault('parentbased_always_on')
    .meta({
      description: `Which traces are kept: \`${SAMPLERS.join('`, `')}\`.`,
      example: 'parentbased_traceidratio',
    }),
  OTEL_TRACES_SAMPLER_ARG: z
    .string()
    .refine((text) => Number(text) >= 0 && Number(text) <= 1, 'must be a number from 0 to 1')
    .transform(Number)
    .prefault('1')
    .meta({ description: 'Share of traces that the samplers with `ratio` in their name keep.', example: '0.1' }),
  OTEL_SERVICE_NAME: z.string().prefault('scheduler-api').meta({
    description: 'Name of this service in traces; OTEL_RESOURCE_ATTRIBUTES adds others.',
    example: 'scheduler-api',
  }),
  OTEL_SDK_DISABLED: z
    .enum(['true', 'false'], 'must be true or false')
    .transform((text) => text === 'true')
    .prefault('false')
    .meta({ description: 'Switches tracing off, whatever else is set.', example: 'false' }),
};
