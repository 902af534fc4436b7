import { Logger } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { FastifyAdapter, type NestFastifyApplication } from '@nestjs/platform-fastify';
import { DocumentBuilder, type OpenAPIObject, SwaggerModule } from '@nestjs/swagger';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { admissionBy } from './admission.js';
import { AgentAccess } from './agent/agent-access.js';
import { AppModule } from './app.module.js';
import { PUBLIC } from './auth/access-rules.js';
import { AccessService } from './auth/access.service.js';
import type { Config } from './config/config.js';
import { acceptOnlyJson, parseJsonBody } from './http/body.js';
import { BODY_LIMITS, limitBody } from './http/body-limits.js';
import { answerClientError } from './http/client-error.js';
import { keepClientsWaiting, sayContinue } from './http/continue.js';
import { followExchanges } from './http/exchange.js';
import { API_DESCRIPTION, convertZod, finishDocument, TAGS } from './api/openapi.js';
import { createLogger } from './http/logger.js';
import { requireHost } from './http/require-host.js';
import { ProblemFilter } from './http/problem.filter.js';
import { dropRefusedBody } from './http/refused-bodies.js';
import { isUnauthenticatedFailure, levelOf, requestFieldsOf } from './http/request-log.js';
import { REQUEST_ID_HEADER, requestIdOf } from './http/request-id.js';
import { releaseUnusedConnections } from './http/unused-connections.js';
import { LogThrottle } from './process/log-throttle.js';
import { Shutdown } from './process/shutdown.js';

// Everything between the settings and `listen`, so that tests serve exactly what main.ts serves.

/** The slowest honest upload of 1 MiB; a request that takes longer only holds a connection. */
const REQUEST_TIMEOUT_MS = 60_000;
/** Headers come in one packet or two; nginx allows its clients the same. */
const HEADERS_TIMEOUT_MS = 15_000;
/** How late Node may notice either; its default would allow a slow one 45 s. */
const CONNECTIONS_CHECK_MS = 5_000;
/** Node's own default, set here because nginx's limit per line is the same. */
const MAX_HEADER_BYTES = 16 * 1024;
/** More than nginx's `keepalive_timeout` (60 s): else nginx may send a request on a connection we are just closing. */
const KEEP_ALIVE_TIMEOUT_MS = 75_000;

/** The whole application, initialised except for its routes; `listen` or `init` does that. */
export async function createApp(config: Config): Promise<NestFastifyApplication> {
  // eslint-disable-next-line @typescript-eslint/no-unsafe-class-instance-assignment -- Nest declares its options as a class
  const app = await NestFactory.create<NestFastifyApplication>(AppModule.forRoot(config), createAdapter(config), {
    logger: createLogger(config.logLevel),
    // Fail by throwing, so that main.ts logs the fault and exits by its own rules.
    abortOnError: false,
    bodyParser: false,
  });
  configureBodies(app);
  configureHooks(app, config.logLevel === 'debug');
  app.enableCsrfProtection();
  // The proxy that terminates TLS sets transport security; upgrade-insecure-requests would break plain HTTP.
  app.useSecurityHeaders({
    strictTransportSecurity: false,
    contentSecurityPolicy: { directives: { upgradeInsecureRequests: null } },
  });
  if (config.http.docs === 'public') serveDocumentation(app);
  return app;
}

export function createDocument(app: NestFastifyApplication): OpenAPIObject {
  const builder = new DocumentBuilder()
    .setOpenAPIVersion('3.1.0')
    .setTitle('Scheduler API')
    .setDescription(API_DESCRIPTION)
    .setVersion('1')
    .setLicense('MIT', 'https://opensource.org/license/mit')
    // Relative to where the document was fetched.
    .addServer('/', 'This service')
    .addBearerAuth(
      { type: 'http', scheme: 'bearer', description: 'ADMIN_TOKEN, or one of `/v1/tokens`', bearerFormat: 'opaque' },
      'token',
    );
  for (const [name, description] of Object.entries(TAGS)) builder.addTag(name, description);
  const document = SwaggerModule.createDocument(app, builder.build(), {
    standardSchemaConverter: convertZod,
  });
  return finishDocument(document);
}

function createAdapter({ http }: Config): FastifyAdapter {
  const filter = new ProblemFilter();
  return new FastifyAdapter({
    http: {
      maxHeaderSize: MAX_HEADER_BYTES,
      headersTimeout: HEADERS_TIMEOUT_MS,
      connectionsCheckingInterval: CONNECTIONS_CHECK_MS,
      // Node would reject a request without one with an empty 400; requireHost does it with a problem.
      requireHostHeader: false,
    },
    clientErrorHandler: answerClientError,
    bodyLimit: BODY_LIMITS.fields,
    requestTimeout: REQUEST_TIMEOUT_MS,
    keepAliveTimeout: KEEP_ALIVE_TIMEOUT_MS,
    trustProxy: typeof http.trustProxy === 'boolean' ? http.trustProxy : [...http.trustProxy],
    genReqId: requestIdOf,
    // During a shutdown requests on open connections are served, with `connection: close`; see configureHooks.
    return503OnClosing: false,
    frameworkErrors: (error: Error, request: FastifyRequest, reply: FastifyReply) =>
      filter.answer(error, request, reply),
  });
}

function configureBodies(app: NestFastifyApplication): void {
  const fastify = app.getHttpAdapter().getInstance();
  // Each route's own limit overrides those of the parsers.
  fastify.addHook('onRoute', limitBody);
  app.useBodyParser('application/json', {}, parseJsonBody);
  app.useBodyParser('application/merge-patch+json', {}, parseJsonBody);
  // Agents send these two, which a shell can write without quoting.
  app.useBodyParser('application/x-www-form-urlencoded', {});
  // Streamed to the handlers of agents' answers and logs, which bound each.
  fastify.addContentTypeParser(
    ['application/octet-stream', 'application/vnd.docker.multiplexed-stream'],
    (_request, stream, done) => done(null, stream),
  );
}

function configureHooks(app: NestFastifyApplication, isDebug: boolean): void {
  const fastify = app.getHttpAdapter().getInstance();
  const shutdown = app.get(Shutdown);
  keepClientsWaiting(fastify.server);
  releaseUnusedConnections(fastify.server, shutdown);
  // So that a terminal’s next prompt begins on its own line.
  fastify.setReplySerializer((body) => `${JSON.stringify(body)}\n`);
  const logger = new Logger('Http');
  const refused = new LogThrottle();
  followExchanges(fastify, (ended) => {
    const level = levelOf(ended);
    const log = (unlogged: number): void =>
      logger.log({
        message: 'request answered',
        ...requestFieldsOf(ended),
        ...(unlogged > 0 && { othersBefore: unlogged }),
      });
    if (level === 'info' && isUnauthenticatedFailure(ended)) refused.log(String(ended.status), log);
    else if (level === 'info') log(0);
    else if (level === 'debug' && isDebug) logger.debug({ message: 'request answered', ...requestFieldsOf(ended) });
  });
  fastify.addHook('onRequest', requireHost);
  fastify.addHook('onRequest', acceptOnlyJson);
  fastify.addHook('onRequest', (request, reply, done) => {
    reply.header(REQUEST_ID_HEADER, request.id);
    done();
  });
  fastify.addHook('onRequest', admissionBy({ access: app.get(AccessService), agents: app.get(AgentAccess) }));
  fastify.addHook('onRequest', sayContinue);
  fastify.addHook('onSend', dropRefusedBody);
  fastify.addHook('onSend', (_request, reply, _payload, done) => {
    // Without this a busy client would keep its connection, and the server would wait until the time limit.
    if (shutdown.hasBegun) reply.header('connection', 'close');
    done();
  });
}

function serveDocumentation(app: NestFastifyApplication): void {
  const fastify = app.getHttpAdapter().getInstance();
  // Swagger UI's own routes cannot be marked public by themselves.
  fastify.addHook('onRoute', (route) => {
    if (/^\/docs(\/|$)/.test(route.url)) route.config = { ...route.config, access: PUBLIC };
  });
  let json: Buffer | undefined;
  // The route is public, and Swagger's own would build the text on every request.
  fastify.get('/docs/openapi.json', (_request, reply) => {
    json ??= Buffer.from(`${JSON.stringify(createDocument(app))}\n`);
    return reply.type('application/json; charset=utf-8').send(json);
  });
  SwaggerModule.setup('docs', app, () => createDocument(app), {
    raw: false,
    customSiteTitle: 'Scheduler API',
    swaggerOptions: { persistAuthorization: true, displayRequestDuration: true, tryItOutEnabled: true },
  });
}
