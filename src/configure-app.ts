import { Logger } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { FastifyAdapter, type NestFastifyApplication } from '@nestjs/platform-fastify';
import { DocumentBuilder, type OpenAPIObject, SwaggerModule } from '@nestjs/swagger';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { AppModule } from './app.module.js';
import type { Config } from './config/config.js';
import { acceptOnlyJson, parseJsonBody } from './http/body.js';
import { answerClientError } from './http/client-error.js';
import { followExchanges } from './http/exchange.js';
import { API_DESCRIPTION, convertZod, finishDocument, TAGS } from './http/openapi.js';
import { createLogger } from './http/logger.service.js';
import { requireHost } from './http/require-host.js';
import { ProblemFilter } from './http/problem.filter.js';
import { levelOf, requestFieldsOf } from './http/request-log.js';
import { REQUEST_ID_HEADER, requestIdOf } from './http/request-id.js';
import { releaseUnusedConnections } from './http/unused-connections.js';
import { Shutdown } from './process/shutdown.js';

// Everything between the settings and `listen`, so that tests serve exactly what main.ts serves.

const BODY_LIMIT_BYTES = 1024 * 1024;
/** Registrations only: an identity document, its signature and two secrets are under 4 KiB. */
const FORM_LIMIT_BYTES = 32 * 1024;
/** The slowest honest upload of 1 MiB; a request that trickles in longer holds a connection for nothing. */
const REQUEST_TIMEOUT_MS = 60_000;
/** Headers come in one packet or two; nginx gives its clients the same. */
const HEADERS_TIMEOUT_MS = 15_000;
/** How late Node may notice either; its default would let a slow one have 45 s. */
const CONNECTIONS_CHECK_MS = 5_000;
/** Node's own default, said here because nginx's limit per line is the same. */
const MAX_HEADER_BYTES = 16 * 1024;
/** More than nginx's `keepalive_timeout` (60 s): else nginx may send a request on a connection we are just closing. */
const KEEP_ALIVE_TIMEOUT_MS = 75_000;

/** The whole application, initialised except for its routes; `listen` or `init` does that. */
export async function createApp(config: Config): Promise<NestFastifyApplication> {
  // eslint-disable-next-line @typescript-eslint/no-unsafe-class-instance-assignment -- Nest declares its options as a class
  const app = await NestFactory.create<NestFastifyApplication>(AppModule.forRoot(config), createAdapter(config), {
    logger: createLogger(config.logLevel),
    // Fail by throwing, so that main.ts says what is wrong and exits by its own rules.
    abortOnError: false,
    bodyParser: false,
  });
  configureBodies(app);
  configureHooks(app, config.logLevel === 'debug');
  app.enableCsrfProtection();
  // Transport security is for whoever terminates TLS; the same for upgrade-insecure-requests, which would break plain HTTP.
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
    .addBearerAuth(
      { type: 'http', scheme: 'bearer', description: 'ADMIN_TOKEN, or one of `/v1/tokens`', bearerFormat: 'opaque' },
      'token',
    );
  for (const [name, description] of Object.entries(TAGS)) builder.addTag(name, description);
  const document = SwaggerModule.createDocument(app, builder.build(), {
    standardSchemaConverter: convertZod,
    // The generated client makes `scheduler.jobs.create()` of it, whichever controller a route has to stand in.
    operationIdFactory: (controller, method) => `${controller.replace(/^New|Controller$/g, '')}_${method}`,
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
      // Node would refuse a request without one with an empty 400; requireHost does it with a problem.
      requireHostHeader: false,
    },
    clientErrorHandler: answerClientError,
    bodyLimit: BODY_LIMIT_BYTES,
    requestTimeout: REQUEST_TIMEOUT_MS,
    keepAliveTimeout: KEEP_ALIVE_TIMEOUT_MS,
    trustProxy: typeof http.trustProxy === 'boolean' ? http.trustProxy : [...http.trustProxy],
    genReqId: requestIdOf,
    // During a shutdown requests on open connections are served and told to close; see configureHooks.
    return503OnClosing: false,
    frameworkErrors: (error: Error, request: FastifyRequest, reply: FastifyReply) =>
      filter.answer(error, request, reply),
  });
}

function configureBodies(app: NestFastifyApplication): void {
  const bodyLimit = BODY_LIMIT_BYTES;
  app.useBodyParser('application/json', { bodyLimit }, parseJsonBody);
  app.useBodyParser('application/merge-patch+json', { bodyLimit }, parseJsonBody);
  // Agents send these two: what a shell can write without quoting anything.
  app.useBodyParser('application/x-www-form-urlencoded', { bodyLimit: FORM_LIMIT_BYTES });
  app.useBodyParser('application/octet-stream', { bodyLimit });
  // Handed on as it comes in, for up to half a minute: LogUploads reads it, and bounds it.
  app
    .getHttpAdapter()
    .getInstance()
    .addContentTypeParser('application/vnd.docker.multiplexed-stream', (_request, stream, done) => done(null, stream));
}

function configureHooks(app: NestFastifyApplication, isDebug: boolean): void {
  const fastify = app.getHttpAdapter().getInstance();
  const shutdown = app.get(Shutdown);
  // An expectation nobody knows may be ignored (RFC 9110 section 10.1.1); Node would refuse it with an empty 417.
  fastify.server.on('checkExpectation', (request, response) => fastify.server.emit('request', request, response));
  releaseUnusedConnections(fastify.server, shutdown);
  const logger = new Logger('Http');
  followExchanges(fastify, (ended) => {
    const level = levelOf(ended);
    if (level === 'info') logger.log({ message: 'request answered', ...requestFieldsOf(ended) });
    else if (level === 'debug' && isDebug) logger.debug({ message: 'request answered', ...requestFieldsOf(ended) });
  });
  fastify.addHook('onRequest', requireHost);
  fastify.addHook('onRequest', acceptOnlyJson);
  fastify.addHook('onRequest', (request, reply, done) => {
    reply.header(REQUEST_ID_HEADER, request.id);
    done();
  });
  fastify.addHook('onSend', (_request, reply, _payload, done) => {
    // Without this a busy client would keep its connection, and the server would wait for it to the end.
    if (shutdown.hasBegun) reply.header('connection', 'close');
    done();
  });
}

function serveDocumentation(app: NestFastifyApplication): void {
  SwaggerModule.setup('docs', app, () => createDocument(app), {
    raw: ['json'],
    jsonDocumentUrl: 'docs/openapi.json',
    customSiteTitle: 'Scheduler API',
    swaggerOptions: { persistAuthorization: true, displayRequestDuration: true, tryItOutEnabled: true },
  });
}
