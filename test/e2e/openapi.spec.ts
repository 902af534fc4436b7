import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { format } from 'prettier';
import { createDocument } from '../../src/configure-app.ts';
import { type Api, startApi } from '../support/api.ts';
import { createEmptyDatabase, dropDatabase } from '../support/database.ts';

const FILE = join(import.meta.dirname, '../../docs/openapi.json');

type Content = Record<string, { schema?: { $ref?: string }; example?: unknown }>;
type Parameter = { name: string; in: string; required?: boolean; description?: string };
type Operation = {
  summary?: string;
  parameters?: Parameter[];
  requestBody?: { content: Content };
  responses: Record<string, { content?: Content }>;
};
type Schema = {
  $ref?: string;
  type?: string;
  maximum?: number;
  default?: number;
  properties?: Record<string, object>;
};
type Document = {
  paths: Record<string, Record<string, Operation>>;
  components: { schemas: Record<string, { example?: unknown }> };
};

describe('the OpenAPI document', () => {
  let api: Api;
  let databaseUrl: string;
  let document: Document;

  beforeAll(async () => {
    databaseUrl = await createEmptyDatabase();
    api = await startApi({ databaseUrl, env: { ROLE: 'api' } });
    document = JSON.parse(JSON.stringify(createDocument(api.app))) as Document;
  });

  afterAll(async () => {
    await api.close();
    await dropDatabase(databaseUrl);
  });

  it('is the one that is committed: after a change run UPDATE_OPENAPI=1 npm run test:e2e -- --testPathPatterns e2e/openapi', async () => {
    const text = await format(JSON.stringify(document), { parser: 'json', printWidth: 120 });
    if (process.env['UPDATE_OPENAPI']) await writeFile(FILE, text);
    expect(text).toBe(await readFile(FILE, 'utf8'));
  });

  it('is served beside a page that shows it', async () => {
    const served = await api.request('GET', '/docs/openapi.json');
    expect(served.headers.get('content-type')).toBe('application/json; charset=utf-8');
    expect(served.text).toBe(`${JSON.stringify(document)}\n`);
    const page = await api.request('GET', '/docs');
    expect(page.status).toBe(200);
    expect(page.text).toContain('swagger-ui');
  });

  it('begins with the README’s first job', async () => {
    const readme = await readFile(join(import.meta.dirname, '../../README.md'), 'utf8');
    const sent = /\/v1\/jobs -H 'content-type: application\/json' -d '(\{.*?\})'/s.exec(readme)?.[1] ?? '';
    expect(document.components.schemas['CreateJob']?.example).toEqual(JSON.parse(sent));
  });

  it('has patterns that any engine of regular expressions takes', () => {
    const patterns = new Set(JSON.stringify(document).match(/"pattern":"(?:[^"\\]|\\.)*"/g));
    expect(patterns.size).toBeGreaterThan(10);
    for (const pair of patterns) {
      const { pattern } = JSON.parse(`{${pair}}`) as { pattern: string };
      for (const flags of ['', 'u']) expect(() => new RegExp(pattern, flags)).not.toThrow();
      // Classes of Unicode, escapes of JavaScript alone, looking around, back references.
      expect(pattern).not.toMatch(/\\[pPuk]|\(\?(?!:)|\\[1-9]/);
    }
  });

  it('refers to nothing that is not there', () => {
    const references = [...JSON.stringify(document).matchAll(/"\$ref":"#\/components\/schemas\/([^"]+)"/g)];
    const names = new Set(references.map(([, name]) => name));
    expect([...names].filter((name) => !(name! in document.components.schemas))).toEqual([]);
    expect(names.size).toBeGreaterThan(5);
    expect(JSON.stringify(document)).not.toContain('$defs');
  });

  it('describes every route of jobs and deployments with a summary, an answer with an example, and problems', () => {
    const incomplete = operations().filter(({ operation }) => {
      const [answer] = Object.entries(operation.responses).filter(([status]) => status.startsWith('2'));
      const content = answer?.[1].content?.['application/json'];
      return !operation.summary || !content?.schema || !content.example || !('401' in operation.responses);
    });
    expect(incomplete.map(({ route }) => route)).toEqual([]);
    expect(operations().length).toBeGreaterThanOrEqual(13);
  });

  it('gives every body a schema by name with an example', () => {
    const bodies = operations().filter(({ operation }) => operation.requestBody);
    expect(bodies.map(({ route }) => route)).toEqual([
      'patch /v1/jobs/{name}',
      'post /v1/jobs',
      'post /v1/jobs/{name}/adopt',
      'post /v1/jobs/{name}/deployments',
      'post /v1/jobs/{name}/rollback',
    ]);
    for (const { operation } of bodies) {
      const [body] = Object.values(operation.requestBody!.content);
      const name = body!.schema!.$ref!.split('/').at(-1)!;
      expect(document.components.schemas[name]!.example).toBeDefined();
    }
  });

  const LOG_QUERY = ['deployment', 'attempt', 'stream', 'tail', 'since', 'follow', 'timestamps'];

  it('documents every query parameter as optional and described', () => {
    const parameters = operations().flatMap(({ operation }) => operation.parameters ?? []);
    const query = parameters.filter((parameter) => parameter.in === 'query');
    expect(new Set(query.map(({ name }) => name))).toEqual(
      new Set(['limit', 'cursor', 'status', 'wait', 'until', ...LOG_QUERY]),
    );
    expect(query.filter((parameter) => parameter.required)).toEqual([]);
    expect(query.filter((parameter) => !parameter.description)).toEqual([]);
  });

  it('shows lists in pages, all of them: none can grow beyond what one answer should hold', () => {
    const lists: string[] = [];
    for (const [path, { get }] of Object.entries(document.paths)) {
      const schema = get?.responses['200']?.content?.['application/json']?.schema as Schema | undefined;
      const shown = schema?.$ref ? document.components.schemas[schema.$ref.split('/').at(-1)!]! : schema;
      expect([path, (shown as Schema | undefined)?.type]).not.toEqual([path, 'array']);
      const { items, nextCursor } = (shown as Schema | undefined)?.properties ?? {};
      if (!items && !nextCursor) continue;
      const query = get!.parameters!.filter((parameter) => parameter.in === 'query') as (Parameter & {
        schema: Schema;
      })[];
      const limit = query.find(({ name }) => name === 'limit')?.schema;
      expect([path, !!items, !!nextCursor, query.some(({ name }) => name === 'cursor' || name === 'after')]).toEqual([
        path,
        true,
        true,
        true,
      ]);
      expect([path, (limit?.maximum ?? Infinity) <= 1_000, (limit?.default ?? Infinity) <= 1_000]).toEqual([
        path,
        true,
        true,
      ]);
      lists.push(path);
    }
    expect(lists).toEqual(
      expect.arrayContaining([
        '/v1/jobs',
        '/v1/tokens',
        '/v1/instances',
        '/v1/registries',
        '/v1/jobs/{name}/deployments',
      ]),
    );
  });

  function operations(): { route: string; operation: Operation }[] {
    return Object.entries(document.paths)
      .filter(([path]) => path.startsWith('/v1/jobs'))
      .flatMap(([path, item]) =>
        Object.entries(item).map(([method, operation]) => ({ route: `${method} ${path}`, operation })),
      )
      .sort((a, b) => (a.route < b.route ? -1 : 1));
  }
});
