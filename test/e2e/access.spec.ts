import { METHOD_METADATA, PATH_METADATA } from '@nestjs/common/constants.js';
import { ModulesContainer } from '@nestjs/core';
import { FASTIFY_ROUTE_CONFIG_METADATA } from '@nestjs/platform-fastify/constants.js';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import type { RouteAccess } from '../../src/auth/access-rules.ts';
import { createDocument } from '../../src/configure-app.ts';
import { type Api, startApi } from '../support/api.ts';
import { createEmptyDatabase, dropDatabase } from '../support/database.ts';

const ADMIN_TOKEN = 'the-token-of-the-operator';
const METHODS = ['GET', 'POST', 'PUT', 'DELETE', 'PATCH'];

type Route = { method: string; path: string; handler: string; access: RouteAccess | undefined };
type Operation = { security?: { token: string[] }[]; 'x-role'?: string };

describe('every route', () => {
  let api: Api;
  let databaseUrl: string;
  let routes: Route[];
  const tokens: Record<string, string> = {};

  beforeAll(async () => {
    databaseUrl = await createEmptyDatabase();
    // Without Swagger UI's files, which are public and hold no data, the router knows our own routes only.
    api = await startApi({ databaseUrl, env: { ADMIN_TOKEN, ROLE: 'api', DOCS: 'off' } });
    routes = routesOf(api);
    for (const role of ['viewer', 'deployer']) {
      const made = await api.request('POST', '/v1/tokens', { body: { name: role, role } });
      tokens[role] = (made.body as { token: string }).token;
    }
  });

  afterAll(async () => {
    await api.close();
    await dropDatabase(databaseUrl);
  });

  it('says who may call it', () => {
    expect(routes.filter(({ access }) => !access).map(({ handler }) => handler)).toEqual([]);
    expect(routes.length).toBeGreaterThanOrEqual(24);
  });

  it('is known to the router, and the router knows no other', () => {
    const router = api.app.getHttpAdapter().getInstance();
    const missing = routes.filter(({ method, path }) => !router.hasRoute({ method, url: path }));
    expect(missing).toEqual([]);
    const printed = router.printRoutes({ commonPrefix: false });
    const known = [...printed.matchAll(/\(([A-Z, ]+)\)/g)].flatMap(([, methods]) => methods!.split(', '));
    // Fastify serves HEAD beside each GET.
    expect(known.filter((method) => method !== 'HEAD')).toHaveLength(routes.length);
  });

  it('says so in the OpenAPI document, as what is enforced', () => {
    const { paths } = createDocument(api.app) as unknown as { paths: Record<string, Record<string, Operation>> };
    const documented = Object.entries(paths).flatMap(([path, item]) =>
      Object.entries(item).map(([method, operation]) => [`${method.toUpperCase()} ${path}`, operation] as const),
    );
    const said = Object.fromEntries(
      documented.map(([route, { security, 'x-role': role }]) => [route, security?.[0] ? role : 'public']),
    );
    const enforced = routes
      .filter(({ access }) => !['agent', 'registration', 'metrics'].includes(access?.who ?? ''))
      .filter(({ path }) => !isForNginx(path))
      .map(({ method, path, access }) => [`${method} ${path.replace(/:(\w+)/g, '{$1}')}`, access?.who]);
    expect(said).toEqual(Object.fromEntries(enforced));
  });

  it('is closed to those it is not for', async () => {
    const agent = 'ab'.repeat(32);
    for (const { method, path, access } of routes) {
      const url = path.replace(':number', '1').replace(':address', '10.0.0.1').replace(/:\w+/, 'some-job');
      const status = async (token: string | undefined): Promise<number> => {
        const headers = { authorization: token && `Bearer ${token}` };
        return (await api.request(method, url, { headers, ...(method !== 'GET' && { body: {} }) })).status;
      };
      const { who } = access!;
      const route = `${method} ${path}`;
      // It lets nobody else through, and asks without a token.
      if (isForNginx(path)) expect([route, await status(undefined)]).toEqual([route, 401]);
      else if (who === 'public') expect([route, await status(undefined)]).toEqual([route, 200]);
      else if (who === 'agent' || who === 'registration') {
        // Registration is by a secret of its own, in the body; a token is of no use there either.
        const refusals = who === 'registration' ? [415, 422] : [401];
        for (const token of [undefined, ADMIN_TOKEN, tokens['viewer']]) {
          expect([route, refusals.includes(await status(token))]).toEqual([route, true]);
        }
      } else {
        expect([route, await status(undefined), await status(agent)]).toEqual([route, 401, 401]);
        expect([route, (await status(tokens['viewer'])) === 403]).toEqual([
          route,
          who !== 'viewer' && who !== 'metrics',
        ]);
        expect([route, (await status(tokens['deployer'])) === 403]).toEqual([route, who === 'admin']);
      }
    }
  });
});

describe('settings of access', () => {
  it('switch the documentation off', async () => {
    const databaseUrl = await createEmptyDatabase();
    const api = await startApi({ databaseUrl, env: { ADMIN_TOKEN, ROLE: 'api', DOCS: 'off' } });
    try {
      expect((await api.request('GET', '/docs')).status).toBe(404);
      expect((await api.request('GET', '/docs/openapi.json')).status).toBe(404);
      expect((await api.request('GET', '/v1/jobs')).status).toBe(200);
    } finally {
      await api.close();
      await dropDatabase(databaseUrl);
    }
  });
});

/** What Nest has routed, by the metadata it routes by. */
function routesOf({ app }: Api): Route[] {
  const controllers = [...app.get(ModulesContainer).values()].flatMap((module) => [...module.controllers.values()]);
  return controllers.flatMap(({ metatype }) => {
    const { prototype, name } = metatype as unknown as { prototype: Record<string, object>; name: string };
    const prefix = Reflect.getMetadata(PATH_METADATA, metatype!) as string;
    const keys = Object.getOwnPropertyNames(prototype).filter((key) => key !== 'constructor');
    return keys.flatMap((key) => {
      const handler = prototype[key]!;
      const path = Reflect.getMetadata(PATH_METADATA, handler) as string | undefined;
      if (path === undefined) return [];
      const method = METHODS[Reflect.getMetadata(METHOD_METADATA, handler) as number]!;
      const url = `/${[prefix, path]
        .flatMap((part) => part.split('/'))
        .filter(Boolean)
        .join('/')}`;
      const config = Reflect.getMetadata(FASTIFY_ROUTE_CONFIG_METADATA, handler) as
        { access?: RouteAccess } | undefined;
      return [{ method, path: url, handler: `${name}.${key}`, access: config?.access }];
    });
  });
}

function isForNginx(path: string): boolean {
  return path.startsWith('/ingress/');
}
