import { type ArgumentMetadata, Injectable, StandardSchemaValidationPipe } from '@nestjs/common';
import { Problem } from './problem.js';
import { bodyErrors, type Issue, parameterErrors, summarize } from './validation-errors.js';

/**
 * Checks what `@Body`, `@Query` and `@Param` name a schema for. Nest's own error joins the messages and drops the
 * paths; and before it checks it deletes members named `constructor` and `prototype`, which are names of variables like
 * any other: schemas define what they accept as own properties, and `__proto__` does not get this far (body.ts).
 */
@Injectable()
export class ValidationPipe extends StandardSchemaValidationPipe {
  override async transform<T>(value: T, metadata: ArgumentMetadata): Promise<T> {
    if (!metadata.schema || !this.toValidate(metadata)) return value;
    // Text of a parameter gets into statements, and Postgres accepts none with a NUL.
    const issues = metadata.type === 'body' ? [] : nulsOf(value);
    if (issues.length > 0) throw parameterProblem(issues, metadata.data);
    const result = await this.validate<T>(value, metadata.schema);
    if (!result.issues) return result.value;
    throw metadata.type === 'body' ? bodyProblem(value, result.issues) : parameterProblem(result.issues, metadata.data);
  }
}

function nulsOf(value: unknown): Issue[] {
  const message = 'must not contain a NUL character';
  if (typeof value === 'string') return value.includes('\0') ? [{ path: [], message }] : [];
  return Object.entries(value ?? {}).flatMap(([name, text]) =>
    [text].flat().some((one) => typeof one === 'string' && one.includes('\0')) ? [{ path: [name], message }] : [],
  );
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
