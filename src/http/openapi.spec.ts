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

  it('adds what holds for every route, and opens what is open', () => {
    const { paths, components } = finishDocument({
      paths: { '/v1/jobs': { get: { responses: { 401: 'mine' } } }, '/health/live': { get: { responses: {} } } },
      components: { schemas: { A: {} } },
    }) as unknown as { paths: Record<string, { get: Record<string, unknown> }>; components: { schemas: object } };

    expect(paths['/v1/jobs']?.get).toMatchObject({ responses: { 401: 'mine', 503: expect.anything() } });
    expect(paths['/v1/jobs']?.get).not.toHaveProperty('security');
    expect(paths['/health/live']?.get).toEqual({ security: [], responses: {} });
    expect(Object.keys(components.schemas)).toEqual(['Problem', 'A']);
  });
});
