import type { NestFastifyApplication } from '@nestjs/platform-fastify';
import { type Config, type Environment, loadConfig } from '../../src/config/config.ts';
import { createApp } from '../../src/configure-app.ts';
import { Shutdown } from '../../src/process/shutdown.ts';
import { freePort } from '../../local/ports.ts';

export type ApiOptions = {
  databaseUrl: string;
  /** Settings over the defaults of a test; `undefined` removes one. */
  env?: Environment;
};

export type Api = {
  url: string;
  app: NestFastifyApplication;
  config: Config;
  /** With the operator's token, if the settings have one. JSON bodies are objects; the answer's body is parsed. */
  request(method: string, path: string, options?: RequestOptions): Promise<Answer>;
  close(): Promise<void>;
};

export type RequestOptions = {
  body?: unknown;
  headers?: Record<string, string | undefined>;
  signal?: AbortSignal;
};

/** `body`: parsed if it is JSON, else undefined. */
export type Answer = { status: number; headers: Headers; text: string; body: unknown };

/** The whole application in this process, as main.ts serves it, on a free port of loopback. */
export async function startApi({ databaseUrl, env = {} }: ApiOptions): Promise<Api> {
  const config = loadConfig({
    DATABASE_URL: databaseUrl,
    ENCRYPTION_KEY: Buffer.alloc(32, 1).toString('base64'),
    PORT: String(await freePort()),
    LOG_LEVEL: 'error',
    ...env,
  });
  const app = await createApp(config);
  await app.listen({ host: config.http.host, port: config.http.port });
  const url = `http://${config.http.host}:${config.http.port}`;
  return {
    url,
    app,
    config,
    request: (method, path, options = {}) => send(method, `${url}${path}`, config.http.adminToken, options),
    close: async () => {
      // As main.ts does: parked requests are answered, or closing would wait for them.
      app.get(Shutdown).begin();
      await app.close();
    },
  };
}

async function send(method: string, url: string, token: string | undefined, options: RequestOptions): Promise<Answer> {
  const { body, headers = {}, signal } = options;
  const all: Record<string, string | undefined> = {
    ...(token !== undefined && { authorization: `Bearer ${token}` }),
    ...(body !== undefined && { 'content-type': 'application/json' }),
    ...headers,
  };
  const response = await fetch(url, {
    method,
    headers: Object.entries(all).flatMap(([name, value]) => (value === undefined ? [] : [[name, value]])),
    ...(body !== undefined && { body: typeof body === 'string' ? body : JSON.stringify(body) }),
    ...(signal && { signal }),
  });
  const text = await response.text();
  const isJson = (response.headers.get('content-type') ?? '').includes('json');
  const parsed: unknown = isJson ? JSON.parse(text) : undefined;
  return { status: response.status, headers: response.headers, text, body: parsed };
}
