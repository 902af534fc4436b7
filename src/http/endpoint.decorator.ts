import { applyDecorators, HttpCode } from '@nestjs/common';
import { ApiOperation, ApiResponse } from '@nestjs/swagger';
import type { z } from 'zod';
import { problemResponses } from './openapi.js';
import type { ProblemCode } from './problem.js';

export type EndpointOptions = {
  readonly summary: string;
  readonly description?: string;
  /** Default 200. */
  readonly status?: number;
  /** What the answer is, in words; default: the summary. */
  readonly answer?: string;
  /** Schema of the answer's body; none means no body. */
  readonly ok?: z.ZodType;
  readonly example?: unknown;
  /** Headers of the answer: name → description. */
  readonly headers?: Readonly<Record<string, string>>;
  /** Problems of this route; `unauthorized` and the like are added to every route. */
  readonly problems?: readonly ProblemCode[];
};

/** Status and documentation of a route, beside `@Get` and its kin. */
export function Endpoint(options: EndpointOptions): MethodDecorator {
  const { summary, description, status = 200, answer = summary, ok, example, headers = {}, problems = [] } = options;
  return applyDecorators(
    HttpCode(status),
    ApiOperation({ summary, ...(description !== undefined && { description }) }),
    ApiResponse({
      status,
      description: answer,
      ...(ok && { standardSchema: ok }),
      ...(example !== undefined && { example }),
      ...(Object.keys(headers).length > 0 && { headers: describeHeaders(headers) }),
    }),
    ...problemResponses(problems).map((response) => ApiResponse(response)),
  );
}

function describeHeaders(headers: Readonly<Record<string, string>>) {
  return Object.fromEntries(
    Object.entries(headers).map(([name, description]) => [name, { description, schema: { type: 'string' } }]),
  );
}
