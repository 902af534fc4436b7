import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { AGENT_PATHS } from './agent-paths.ts';

export type JsonSchema = { readonly [keyword: string]: unknown };

export type Parameter = {
  readonly name: string;
  readonly in: 'path' | 'query' | 'header';
  readonly required: boolean;
  readonly schema: JsonSchema;
};

/** Who may call it: a role, `agent` or `public`. */
export type Access = 'viewer' | 'deployer' | 'admin' | 'agent' | 'public';

export type Operation = {
  /** `GET /v1/jobs/{name}` */
  readonly id: string;
  readonly method: string;
  readonly path: string;
  readonly access: Access;
  readonly parameters: readonly Parameter[];
  /** Media type → schema of the body; empty: none is wanted. */
  readonly bodies: Readonly<Record<string, JsonSchema>>;
  /** Status → media type → schema of the answer; no media type: no body. */
  readonly answers: Readonly<Record<string, Readonly<Record<string, JsonSchema>>>>;
};

export type ApiDocument = {
  readonly operations: readonly Operation[];
  /** Resolves `$ref`. */
  resolve(schema: JsonSchema): JsonSchema;
  /** What is wrong with a value; undefined: nothing. */
  check(schema: JsonSchema, value: unknown): string | undefined;
};

export type PathItem = Readonly<Record<string, RawOperation>>;
export type RawOperation = {
  readonly parameters?: readonly (Omit<Parameter, 'required'> & { readonly required?: boolean })[];
  readonly requestBody?: { readonly content: Readonly<Record<string, { readonly schema: JsonSchema }>> };
  readonly responses: Readonly<
    Record<string, { readonly content?: Readonly<Record<string, { readonly schema?: JsonSchema }>> }>
  >;
  /** None: for agents. Empty: for everyone. */
  readonly security?: readonly object[];
  readonly 'x-role'?: Access;
};
type RawDocument = {
  readonly paths: Readonly<Record<string, PathItem>>;
  readonly components: { readonly schemas: Readonly<Record<string, JsonSchema>> };
};

/** docs/openapi.json, and the agents' routes, which are not in it. */
export function readDocument(): ApiDocument {
  const text = readFileSync(join(import.meta.dirname, '../../docs/openapi.json'), 'utf8');
  const raw = JSON.parse(text) as RawDocument;
  // The patterns say all that the formats say.
  const ajv = new Ajv2020({ strict: false, validateFormats: false, allErrors: false });
  ajv.addSchema(raw, 'api');
  const checks = new Map<string, ReturnType<typeof ajv.compile>>();
  const operations = Object.entries({ ...raw.paths, ...AGENT_PATHS }).flatMap(([path, item]) =>
    Object.entries(item).map(([method, operation]) => toOperation(method.toUpperCase(), path, operation)),
  );
  return {
    operations,
    resolve: (schema) => {
      const name = typeof schema['$ref'] === 'string' ? schema['$ref'].split('/').at(-1) : undefined;
      return name === undefined ? schema : { ...raw.components.schemas[name], ...without(schema, '$ref') };
    },
    check: (schema, value) => {
      const key = JSON.stringify(schema);
      const check = checks.get(key) ?? ajv.compile(withAbsoluteRefs(schema) as object);
      checks.set(key, check);
      return check(value) ? undefined : ajv.errorsText(check.errors, { dataVar: '' });
    },
  };
}

function toOperation(method: string, path: string, raw: RawOperation): Operation {
  const { parameters = [], requestBody, responses } = raw;
  return {
    id: `${method} ${path}`,
    method,
    path,
    access: accessOf(raw),
    parameters: parameters.map((parameter) => ({ ...parameter, required: parameter.required ?? false })),
    bodies: Object.fromEntries(
      Object.entries(requestBody?.content ?? {}).map(([type, { schema }]) => [type, schema] as const),
    ),
    answers: Object.fromEntries(
      Object.entries(responses).map(([status, { content = {} }]) => [
        status,
        Object.fromEntries(Object.entries(content).map(([type, { schema = {} }]) => [type, schema] as const)),
      ]),
    ),
  };
}

function accessOf({ security, 'x-role': role }: RawOperation): Access {
  if (security === undefined) return 'agent';
  return role ?? 'public';
}

function withAbsoluteRefs(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withAbsoluteRefs);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, inner]: [string, unknown]) => [
      key,
      key === '$ref' && typeof inner === 'string' ? `api${inner}` : withAbsoluteRefs(inner),
    ]),
  );
}

function without(schema: JsonSchema, keyword: string): JsonSchema {
  return Object.fromEntries(Object.entries(schema).filter(([key]) => key !== keyword));
}
