import { isDeepStrictEqual } from 'node:util';
import { z } from 'zod';
import { ACCESS_EXTENSION } from '../auth/access.decorator.js';
import type { Who } from '../auth/access-rules.js';
import type { Role } from '../http/caller.js';
import { type ProblemCode, PROBLEM_MEDIA_TYPE, PROBLEMS } from '../http/problem.js';

// What Nest's Swagger cannot do by itself: OpenAPI 3.1 out of Zod with named components, and problems as answers.

type JsonSchema = Record<string, unknown>;
/** Where `@Endpoint` leaves what an answer may be besides JSON: media type → schema and example. */
export const MEDIA_TYPES_EXTENSION = 'x-media-types';
export type MediaTypes = Readonly<Record<string, { readonly schema: object; readonly example?: string }>>;

export type Converted = { schema: JsonSchema; components: Record<string, JsonSchema> };

/**
 * Schema of a body, parameters or an answer. A schema with `.meta({ id })` becomes a component of that name. Where what
 * goes in differs from what comes out (defaults are optional in, always there out), the latter is `<id>Output`.
 */
export function convertZod(
  schema: unknown,
  { schemaType: io }: { schemaType: 'input' | 'output' },
): Converted | undefined {
  if (!(schema instanceof z.ZodType)) return undefined;
  const converted = toJsonSchema(schema, io);
  if (io === 'input') return converted;
  return rename(converted, differing(converted.components, toJsonSchema(schema, 'input').components));
}

/** `ApiResponse` options, one a status: several problems of one status share an answer, with an example each. */
export function problemResponses(codes: readonly ProblemCode[]) {
  const byStatus = Map.groupBy(new Set<ProblemCode>([...codes]), (code) => PROBLEMS[code].status);
  return [...byStatus].map(([status, sameStatus]) => ({
    status,
    description: sameStatus.map((code) => `\`${code}\``).join(', '),
    content: {
      [PROBLEM_MEDIA_TYPE]: { schema: { $ref: '#/components/schemas/Problem' }, examples: examplesOf(sameStatus) },
    },
  }));
}

export const TAGS = {
  jobs: 'What should run: a named place for one container on one instance.',
  deployments: 'What was requested, and how far it is.',
  events: 'What happened, and who did it.',
  logs: 'What containers print.',
  fleet: 'The instances, and what is on its way.',
  tokens: 'Who may call this API, and what for.',
  registries: 'Credentials of private registries.',
  webhooks: 'Events, sent to a URL of yours and signed.',
  health: 'For balancers and supervisors.',
} as const;

export const API_DESCRIPTION = [
  'Deploys Docker images to jobs, each on an EC2 instance of its own.',
  '',
  'Every call under `/v1` needs a bearer token of the role it names: `viewer`, `deployer` or `admin`. Each may do what the',
  'ones before it may. For a token with a scope, jobs outside that scope do not exist.',
  '',
  'Errors are problem details (RFC 9457).',
  '',
  '<details><summary>What the last part of `type` can be</summary>',
  '',
  '| code | status | meaning |',
  '|---|---|---|',
  ...Object.entries(PROBLEMS).map(([code, { status, title }]) => `| \`${code}\` | ${status} | ${title} |`),
  '',
  '</details>',
].join('\n');

type Answer = {
  description: string;
  content?: Record<string, { schema?: object; example?: unknown; examples?: object }>;
};
/** Where the document says what role a call needs. */
const ROLE_EXTENSION = 'x-role';

type Operation = {
  security?: Record<string, string[]>[];
  description?: string;
  parameters?: { name: string; in: string }[];
  responses?: Record<string, Answer>;
  [ACCESS_EXTENSION]?: Who;
  [ROLE_EXTENSION]?: Role;
  [MEDIA_TYPES_EXTENSION]?: MediaTypes;
};
type Document = {
  paths: Record<string, Record<string, unknown>>;
  components?: { schemas?: Record<string, unknown> };
  security?: Record<string, string[]>[];
};

/** Adds what holds for every route: who may call it, and the problems that every route may answer. */
export function finishDocument<T extends object>(document: T): T {
  const { paths, components, ...rest } = document as Document;
  const finished: Document = {
    ...rest,
    paths: Object.fromEntries(Object.entries(paths).map(([path, item]) => [path, finishPath(item)])),
    components: { ...components, schemas: { Problem: PROBLEM_SCHEMA, ...components?.schemas } },
    security: [{ token: [] }],
  };
  return withPlainNames(finished) as T;
}

/** An answer whose schema never goes in needs no `Output` in its name: nothing else has the plain one. */
function withPlainNames(document: Document): Document {
  const schemas = document.components?.schemas ?? {};
  const names = Object.keys(schemas)
    .filter((name) => name.endsWith('Output') && !(name.slice(0, -'Output'.length) in schemas))
    .map((name) => [name, name.slice(0, -'Output'.length)] as const);
  const renamed = withRefs(document, new Map(names), '#/components/schemas/') as Document;
  const entries = Object.entries(renamed.components?.schemas ?? {});
  const plain = entries.map(([name, schema]) => [new Map(names).get(name) ?? name, schema] as const);
  return { ...renamed, components: { ...renamed.components, schemas: Object.fromEntries(plain) } };
}

function finishPath(item: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(item).map(([method, operation]) => [method, finishOperation(method, operation as Operation)]),
  );
}

function finishOperation(method: string, documented: Operation): Operation {
  const { [ACCESS_EXTENSION]: who, [MEDIA_TYPES_EXTENSION]: mediaTypes, ...operation } = documented;
  if (who === 'public') {
    const responses = withProblems(operation.responses ?? {}, ['malformed-request']);
    return { ...operation, security: [], responses };
  }
  const isChange = method !== 'get';
  const codes: ProblemCode[] = ['unauthorized', 'forbidden', 'too-many-requests', 'unavailable'];
  if (isChange) codes.push('malformed-request', 'conflict', 'idempotency-key-reused', 'request-in-progress');
  // A body is read whether the route wants one or not; a URL is decoded before there is a route.
  if (isChange) codes.push('payload-too-large', 'unsupported-media-type');
  if (operation.parameters?.some((parameter) => parameter.in === 'path')) {
    codes.push('malformed-request', 'uri-too-long');
  }
  const role = roleOf(who);
  return {
    ...operation,
    description: [operation.description, `Role: \`${role}\`.`].filter(Boolean).join(' '),
    security: [{ token: [] }],
    // Not as a scope in `security`: that has to be one the scheme declares, which schemes of this kind cannot.
    [ROLE_EXTENSION]: role,
    ...(isChange && { parameters: [...(operation.parameters ?? []), IDEMPOTENCY_KEY] }),
    responses: withProblems(withMediaTypes(operation.responses ?? {}, mediaTypes), codes),
  };
}

/** Routes of agents are not in the document; one that declares no access is for operators. */
function roleOf(who: Who | undefined): Role {
  if (who === 'metrics') return 'viewer';
  return who === 'viewer' || who === 'deployer' ? who : 'admin';
}

const IDEMPOTENCY_KEY = {
  name: 'Idempotency-Key',
  in: 'header',
  required: false,
  description:
    'Any text of the client’s own, like a UUID. A repeat with the same key and content within a day changes nothing and gets the first answer again, with `Idempotency-Replayed: true`.',
  schema: { type: 'string', minLength: 1, maxLength: 255 },
};

function withMediaTypes(
  responses: Readonly<Record<string, Answer>>,
  mediaTypes: MediaTypes | undefined,
): Record<string, Answer> {
  if (!mediaTypes) return responses;
  const answers = Object.entries(responses).map(([status, answer]) => {
    const isProblem = Number(status) >= 400;
    return [status, isProblem ? answer : { ...answer, content: { ...mediaTypes, ...answer.content } }] as const;
  });
  return Object.fromEntries(answers);
}

/** Adds problems to those a route has of its own: of one status they share an answer. */
function withProblems(
  responses: Readonly<Record<string, Answer>>,
  codes: readonly ProblemCode[],
): Record<string, Answer> {
  const all: Record<string, Answer> = { ...responses };
  for (const { status, ...added } of problemResponses(codes)) {
    const own = all[status];
    all[status] = own ? mergeAnswers(own, added) : added;
  }
  return all;
}

function mergeAnswers(own: Answer, added: Answer): Answer {
  const codes = [...new Set([own, added].flatMap(({ description }) => description.split(', ')))];
  const [ours, theirs] = [own, added].map(({ content }) => content?.[PROBLEM_MEDIA_TYPE]);
  const examples = { ...ours?.examples, ...theirs?.examples };
  return { ...own, description: codes.join(', '), content: { [PROBLEM_MEDIA_TYPE]: { ...ours, ...theirs, examples } } };
}

/** The component every problem answer refers to. */
const PROBLEM_SCHEMA: JsonSchema = {
  type: 'object',
  description: 'RFC 9457 problem details.',
  required: ['type', 'title', 'status', 'instance'],
  properties: {
    type: { type: 'string', enum: [...Object.keys(PROBLEMS).map((code) => `/problems/${code}`), 'about:blank'] },
    title: { type: 'string' },
    status: { type: 'integer' },
    detail: { type: 'string' },
    instance: { type: 'string', description: 'The request id, as in the log.' },
    errors: {
      type: 'array',
      description: 'Where the request is at fault.',
      items: {
        type: 'object',
        required: ['detail'],
        properties: {
          pointer: { type: 'string', description: 'JSON pointer into the body.' },
          parameter: { type: 'string', description: 'Name of a path or query parameter.' },
          header: { type: 'string', description: 'Name of a header.' },
          detail: { type: 'string' },
        },
      },
    },
  },
};

function examplesOf(codes: readonly ProblemCode[]) {
  return Object.fromEntries(
    codes.map((code) => [
      code,
      { value: { type: `/problems/${code}`, ...PROBLEMS[code], instance: 'urn:request:3c1f6f0e' } },
    ]),
  );
}

function toJsonSchema(schema: z.ZodType, io: 'input' | 'output'): Converted {
  const json: JsonSchema = z.toJSONSchema(schema, { io, target: 'draft-2020-12', override: keepExamples });
  const definitions = Object.entries((json['$defs'] ?? {}) as Record<string, JsonSchema>);
  const components = Object.fromEntries(definitions.map(([name, definition]) => [name, without(definition, 'id')]));
  return { schema: without(json, '$schema', '$defs', 'id'), components };
}

/** Zod leaves examples and defaults of what is transformed out of requests, where they could be of another type. Ours fit both. */
function keepExamples({ zodSchema, jsonSchema }: { zodSchema: z.core.$ZodTypes; jsonSchema: object }): void {
  const { examples } = z.globalRegistry.get(zodSchema) ?? {};
  const { def } = zodSchema._zod;
  Object.assign(jsonSchema, examples && { examples }, def.type === 'default' && { default: def.defaultValue });
}

/** Zod repeats a component's name as `id`, which JSON Schema does not know. */
function without(schema: JsonSchema, ...keywords: string[]): JsonSchema {
  return Object.fromEntries(Object.entries(schema).filter(([keyword]) => !keywords.includes(keyword)));
}

type Components = Readonly<Record<string, JsonSchema>>;

/** New names of the components that are not the same in and out, or that refer to one which is not. */
function differing(output: Components, input: Components): ReadonlyMap<string, string> {
  const names = new Map<string, string>();
  for (let before = -1; before < names.size;) {
    before = names.size;
    for (const [name, definition] of Object.entries(output)) {
      if (input[name] && !isDeepStrictEqual(input[name], withRefs(definition, names))) names.set(name, `${name}Output`);
    }
  }
  return names;
}

function rename({ schema, components }: Converted, names: ReadonlyMap<string, string>): Converted {
  if (names.size === 0) return { schema, components };
  const entries = Object.entries(components).map(([name, definition]) => [
    names.get(name) ?? name,
    withRefs(definition, names),
  ]);
  return {
    schema: withRefs(schema, names) as JsonSchema,
    components: Object.fromEntries(entries) as Converted['components'],
  };
}

function withRefs(value: unknown, names: ReadonlyMap<string, string>, prefix = '#/$defs/'): unknown {
  if (Array.isArray(value)) return value.map((item) => withRefs(item, names, prefix));
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, inner]: [string, unknown]) => {
      const name = key === '$ref' && typeof inner === 'string' ? names.get(inner.replace(prefix, '')) : undefined;
      return [key, name === undefined ? withRefs(inner, names, prefix) : `${prefix}${name}`];
    }),
  );
}
