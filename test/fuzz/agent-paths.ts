import type { JsonSchema, PathItem } from './document.ts';

// The agents' routes are not in docs/openapi.json; this is docs/agent-protocol.md in its terms. Not there yet, or not
// any more, is 404 everywhere.

const NUMBER = {
  name: 'number',
  in: 'path',
  required: true,
  schema: { type: 'integer', minimum: 1, maximum: 15 },
} as const;
const HEX = { type: 'string', pattern: '^[0-9a-f]{64}$' };
const PROBLEM: JsonSchema = { $ref: '#/components/schemas/Problem' };

/** What costs more to read than to send. */
const COSTLY = ['\n', '{}\n', '{\n', '[', '{"a":', '{"error":1}\n', '9', '\0', '\ud800'].map((text) =>
  text.repeat(4_000),
);

export const AGENT_PATHS: Readonly<Record<string, PathItem>> = {
  '/agent/v1/register': {
    post: {
      requestBody: {
        content: {
          'application/x-www-form-urlencoded': {
            schema: {
              type: 'object',
              required: ['document', 'signature', 'secret', 'token', 'agent'],
              properties: {
                document: { type: 'string', minLength: 1, maxLength: 8192 },
                signature: { type: 'string', pattern: '^[A-Za-z0-9+/=]{1,400}$' },
                secret: HEX,
                token: HEX,
                after: { type: 'string', pattern: '^[0-9]{1,9}$' },
                agent: { type: 'string', pattern: '^[0-9.]{1,8}$' },
                publicIp: { type: 'string', enum: ['', '203.0.113.7', '::1', '1.2.3', '999.1.1.1'] },
              },
            },
          },
        },
      },
      responses: answers(['204'], ['400', '403', '404', '409', '410', '413', '415', '422', '503']),
    },
  },
  '/agent/v1/orders': {
    get: {
      parameters: [{ name: 'after', in: 'query', required: true, schema: { type: 'integer', minimum: 0 } }],
      // What an order carries is for Docker.
      responses: answers(['200', '204'], ['400', '401', '404', '410', '429', '503'], { 'application/json': {} }),
    },
  },
  '/agent/v1/orders/{number}/result': {
    post: {
      parameters: [
        NUMBER,
        {
          name: 'Result-Status',
          in: 'header',
          required: true,
          schema: { type: 'integer', enum: [0, 200, 204, 404, 500] },
        },
        { name: 'Result-Error', in: 'header', schema: { type: 'string', pattern: '^[ -~]{0,200}$' } },
        { name: 'Probe-State', in: 'header', schema: { type: 'string', enum: ['healthy', 'unhealthy'] } },
      ],
      requestBody: { content: { 'application/octet-stream': { schema: dockerAnswer() } } },
      responses: answers(['204'], ['400', '401', '404', '409', '410', '413', '415', '429', '503']),
    },
  },
  '/agent/v1/orders/{number}/stream': {
    post: {
      parameters: [
        NUMBER,
        { name: 'since', in: 'query', required: true, schema: { type: 'string', pattern: '^[0-9]{1,10}\\.[0-9]{9}$' } },
      ],
      requestBody: { content: { 'application/octet-stream': { schema: { type: 'string', maxLength: 5_000 } } } },
      responses: answers(['200'], ['400', '401', '404', '409', '410', '413', '415', '422', '429', '503']),
    },
  },
  '/agent/v1/orders/{number}/logs': {
    post: {
      parameters: [
        NUMBER,
        { name: 'since', in: 'query', required: true, schema: { type: 'string', pattern: '^[0-9]{1,10}\\.[0-9]{9}$' } },
      ],
      requestBody: {
        content: { 'application/vnd.docker.multiplexed-stream': { schema: { type: 'string', maxLength: 5_000 } } },
      },
      responses: answers(['200', '204'], ['400', '401', '404', '409', '410', '413', '415', '422', '429', '503']),
    },
  },
};

/** What Docker might say: the job pass reads it. */
function dockerAnswer(): JsonSchema {
  const time = { type: 'string', enum: ['2026-11-25T19:00:00.123456789Z', '0001-01-01T00:00:00Z', 'never', ''] };
  return {
    anyOf: [
      { type: 'string', maxLength: 2_000 },
      { type: 'string', enum: COSTLY },
      { type: 'object', properties: { message: { type: 'string' } }, additionalProperties: true },
      {
        type: 'object',
        properties: {
          Id: { type: 'string' },
          RepoDigests: { type: 'array', items: { type: 'string' } },
          Config: { type: 'object', properties: { Env: { type: 'array', items: { type: 'string' } } } },
          RestartCount: { type: 'integer' },
          State: {
            type: 'object',
            properties: {
              Status: { type: 'string', enum: ['running', 'exited', 'dead', 'none such'] },
              Running: { type: 'boolean' },
              OOMKilled: { type: 'boolean' },
              ExitCode: { type: 'integer' },
              StartedAt: time,
              FinishedAt: time,
            },
          },
        },
      },
      { type: 'object', properties: { StatusCode: { type: 'integer' }, Error: { type: 'object' } } },
    ],
  };
}

function answers(fine: readonly string[], refused: readonly string[], content: Record<string, JsonSchema> = {}) {
  const withSchemas = Object.fromEntries(Object.entries(content).map(([type, schema]) => [type, { schema }]));
  return {
    ...Object.fromEntries(fine.map((status) => [status, { content: withSchemas }])),
    ...Object.fromEntries(
      refused.map((status) => [status, { content: { 'application/problem+json': { schema: PROBLEM } } }]),
    ),
  };
}
