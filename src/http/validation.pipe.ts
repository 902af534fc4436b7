import { type ArgumentMetadata, Injectable, StandardSchemaValidationPipe } from '@nestjs/common';
import { Problem } from './problem.js';
import { bodyErrors, type Issue, parameterErrors, summarize } from './validation-errors.js';

/** Checks what `@Body`, `@Query` and `@Param` name a schema for. Nest's own error joins the messages and drops the paths. */
@Injectable()
export class ValidationPipe extends StandardSchemaValidationPipe {
  override async transform<T>(value: T, metadata: ArgumentMetadata): Promise<T> {
    if (!metadata.schema || !this.toValidate(metadata)) return value;
    this.stripProtoKeys(value);
    const result = await this.validate<T>(value, metadata.schema);
    if (!result.issues) return result.value;
    throw metadata.type === 'body' ? bodyProblem(value, result.issues) : parameterProblem(result.issues, metadata.data);
  }
}

function bodyProblem(value: unknown, issues: readonly Issue[]): Problem {
  // Fastify parses nothing when there is no body: "expected object, received undefined" would mislead.
  if (value === undefined || value === null) return new Problem('malformed-request', 'A JSON body is required.');
  const errors = bodyErrors(issues);
  return new Problem('invalid-request', summarize(errors), { errors });
}

function parameterProblem(issues: readonly Issue[], name: string | undefined): Problem {
  const errors = parameterErrors(issues, name);
  return new Problem('invalid-parameter', summarize(errors), { errors });
}
