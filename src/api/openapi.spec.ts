import { describe, expect, it } from '@jest/globals';
import { z } from 'zod';
import { convertZod, finishDocument, problemResponses } from './openapi.js';

const Inner = z.strictObject({ size: z.int().default(1), at: z.iso.datetime().optional() }).meta({ id: 'Inner' });
const Same = z.strictObject({ a: z.string() }).meta({ id: 'Same' });
const Outer = z.strictObject({ inner: Inner, same: Same, none: z.string().nullable() }).meta({ id: 'Outer' });

describe('convertZod', () => {
  it('makes a component of every schema with an id', () => {
    const converted = convertZod(Outer, { schemaType: 'input' });

    expect(converted?.schema).toEqual({ $ref: '#/$defs/Outer' });
    expect(Object.keys(converted?.components ?? {}).toSorted()).toEqual(['Inner', 'Outer', 'Same']);
    expect(converted?.components['Outer']).toMatchObject({ properties: { inner: { $ref: '#/$defs/Inner' } } });
    expect(converted?.components['Inner']).not.toHaveProperty('id');
    expect(converted?.components['Inner']).not.toHaveProperty('required');
  });

  it('names what comes out apart where it differs from what goes in', () => {
    const converted = convertZod(z.strictObject({ inner: Inner, same: Same }), { schemaType: 'output' });

    expect(converted?.schema).toMatchObject({
      properties: { inner: { $ref: '#/$defs/InnerOutput' }, same: { $ref: '#/$defs/Same' } },
    });
    expect(converted?.components['InnerOutput']).toMatchObject({ required: ['size'] });
    expect(converted?.components).not.toHaveProperty('Inner');
  });

  it('renames a component that only refers to a renamed one', () => {
    const converted = convertZod(Outer, { schemaType: 'output' });
    const outer = Object.entries(converted?.components ?? {}).find(([name]) => name.startsWith('Outer'));
    expect(converted?.schema).toEqual({ $ref: `#/$defs/${outer?.[0]}` });
    expect(outer?.[1]).toMatchObject({ properties: { inner: { $ref: '#/$defs/InnerOutput' } } });
    expect(outer?.[0]).toBe('OuterOutput');
  });

  it('leaves what is not Zod to others', () => {
    expect(convertZod({ '~standard': {} }, { schemaType: 'input' })).toBeUndefined();
  });
});

describe('problemResponses', () => {
  it('joins problems of one status', () => {
    const [conflict, missing, ...rest] = problemResponses(['job-deleting', 'job-not-found', 'job-name-taken']);
    expect(rest).toEqual([]);
    expect(conflict).toMatchObject({ status: 409, description: '`job-deleting`, `job-name-taken`' });
    expect(missing).toMatchObject({ status: 404 });
  });
});

describe('finishDocument', () => {
  it('says Output only where there is something else', () => {
    const { components, paths } = finishDocument({
      paths: { '/v1/a': { get: { responses: { 200: { $ref: '#/components/schemas/PageOutput' } } } } },
      components: {
        schemas: { Job: {}, JobOutput: {}, PageOutput: { items: { $ref: '#/components/schemas/JobOutput' } } },
      },
    });
    expect(components.schemas).toMatchObject({ Page: { items: { $ref: '#/components/schemas/JobOutput' } } });
    expect(Object.keys(components.schemas).toSorted()).toEqual(['Job', 'JobOutput', 'Page', 'Problem']);
    expect(paths['/v1/a'].get.responses[200]).toEqual({ $ref: '#/components/schemas/Page' });
  });

  it('says of every route who may call it, and adds what holds for all of them', () => {
    const responses = { 409: { description: '`job-deleting`', content: PROBLEM } };
    const { paths, components } = finishDocument({
      paths: {
        '/v1/jobs': {
          get: { 'x-access': 'viewer', description: 'Lists.', responses: {} },
          post: { 'x-access': 'deployer', responses },
          delete: { responses: {} },
        },
        '/v1/jobs/{name}': { get: { 'x-access': 'viewer', parameters: [{ name: 'name', in: 'path' }], responses: {} } },
        '/health/live': { get: { 'x-access': 'public', responses: {} } },
      },
      components: { schemas: { A: {} } },
    }) as unknown as { paths: Record<string, Record<string, Finished>>; components: { schemas: object } };
    const { get, post, delete: forgotten } = paths['/v1/jobs']!;

    expect(get).toMatchObject({ description: 'Lists. Role: `viewer`.', security: [{ token: [] }], 'x-role': 'viewer' });
    expect(Object.keys(get!.responses)).toEqual(['401', '403', '429', '503']);
    expect(Object.keys(paths['/v1/jobs/{name}']!['get']!.responses)).toEqual([
      '400',
      '401',
      '403',
      '414',
      '429',
      '503',
    ]);
    expect(Object.keys(forgotten!.responses)).toEqual(['400', '401', '403', '409', '413', '415', '429', '503']);
    expect(get).not.toHaveProperty('parameters');
    expect(get).not.toHaveProperty('x-access');
    expect(post).toMatchObject({ 'x-role': 'deployer', parameters: [{ name: 'Idempotency-Key' }] });
    expect(post!.responses['409']!.description).toBe(
      '`job-deleting`, `conflict`, `idempotency-key-reused`, `request-in-progress`',
    );
    expect(Object.keys(post!.responses['409']!.content['application/problem+json']!.examples)).toHaveLength(4);
    expect(forgotten).toMatchObject({ security: [{ token: [] }], 'x-role': 'admin' });
    expect(paths['/health/live']?.['get']).toMatchObject({ security: [], responses: { 400: {} } });
    expect(paths['/health/live']?.['get']).not.toHaveProperty('x-role');
    expect(Object.keys(components.schemas)).toEqual(['Problem', 'A']);
  });
});

const PROBLEM = { 'application/problem+json': { examples: { 'job-deleting': {} } } };
type Finished = { responses: Record<string, { description: string; content: Record<string, { examples: object }> }> };
