import { applyDecorators, HttpCode } from '@nestjs/common';
import { ApiExtension, ApiHeader, ApiOperation, ApiResponse } from '@nestjs/swagger';
import type { z } from 'zod';
import { Access } from '../auth/access.decorator.js';
import type { ScopeRule, Who } from '../auth/access-rules.js';
import type { BodySize } from '../http/body-limits.js';
import { type MediaTypes, MEDIA_TYPES_EXTENSION, problemResponses } from './openapi.js';
import type { ProblemCode } from '../http/problem.js';

export type EndpointOptions = {
  /** `Jobs_create`: the generated client makes `scheduler.jobs.create()` of it, whatever the controller. */
  readonly operationId: `${string}_${string}`;
  /** Who may call it. */
  readonly access: Who;
  /** For tokens with a scope; default: not for them. */
  readonly scope?: ScopeRule;
  /** Default: a few fields, or none. */
  readonly body?: BodySize;
  readonly summary: string;
  readonly description?: string;
  /** Default 200. */
  readonly status?: number;
  /** What the answer is, in words; default: the summary. */
  readonly answer?: string;
  /** Schema of the answer's body; none means no body. */
  readonly ok?: z.ZodType;
  readonly example?: unknown;
  /** What else the answer may be, as the client accepts it; the first is the default, before JSON. */
  readonly mediaTypes?: MediaTypes;
  /** Headers of the answer: name → description. */
  readonly headers?: Readonly<Record<string, string>>;
  /** The answer has an ETag, and is 304 for a client that has it. */
  readonly isConditional?: boolean;
  /** Problems of this route; `unauthorized` and the like are added to every route. */
  readonly problems?: readonly ProblemCode[];
};

/** Access, status and documentation of a route, in addition to `@Get` and the like. */
export function Endpoint(options: EndpointOptions): MethodDecorator {
  const { operationId, access, scope, body, summary, description, status = 200, answer = summary } = options;
  const { ok, example, mediaTypes, headers = {}, isConditional = false, problems = [] } = options;
  return applyDecorators(
    Access(access, scope, body),
    HttpCode(status),
    ApiOperation({ operationId, summary, ...(description !== undefined && { description }) }),
    ApiResponse({
      status,
      description: answer,
      ...(ok && { standardSchema: ok }),
      ...(example !== undefined && { example }),
      ...(Object.keys(headers).length > 0 && { headers: describeHeaders(headers) }),
    }),
    ...(mediaTypes ? [ApiExtension(MEDIA_TYPES_EXTENSION, mediaTypes)] : []),
    ...(isConditional ? [ApiHeader(IF_NONE_MATCH), ApiResponse({ status: 304, description: 'As it was' })] : []),
    ...problemResponses(problems).map((response) => ApiResponse(response)),
  );
}

const IF_NONE_MATCH = {
  name: 'If-None-Match',
  required: false,
  description: 'ETag of an earlier answer: 304 without a body if it would be the same again.',
  schema: { type: 'string' },
} as const;

function describeHeaders(headers: Readonly<Record<string, string>>) {
  return Object.fromEntries(
    Object.entries(headers).map(([name, description]) => [name, { description, schema: { type: 'string' } }]),
  );
}
