import { existsSync } from 'node:fs';
import http from 'node:http';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';

export type DockerEngine = { socket: string; version: string };

export type EngineCall = { method?: string; path: string; body?: unknown; timeoutMs?: number };
export type EngineReply = { status: number; text: string };

/** Long enough for a busy engine, short enough to go on without one at start-up. */
const FIND_TIMEOUT_MS = 2_000;
const CALL_TIMEOUT_MS = 30_000;

/** The Docker Engine of this machine, when one answers that runs Linux containers. Honours a unix:// DOCKER_HOST. */
export async function findDockerEngine(env: NodeJS.ProcessEnv = process.env): Promise<DockerEngine | undefined> {
  for (const socket of candidates(env)) {
    const reply = await callEngine(socket, { path: '/version', timeoutMs: FIND_TIMEOUT_MS }).catch(() => undefined);
    const answer = reply?.status === 200 ? parse(reply.text) : undefined;
    if (answer?.Os === 'linux' && typeof answer.Version === 'string') return { socket, version: answer.Version };
  }
  return undefined;
}

/** One call, its whole answer. @throws when the engine cannot be reached or does not answer in time. */
export function callEngine(
  socket: string,
  { method = 'GET', path, body, timeoutMs }: EngineCall,
): Promise<EngineReply> {
  return new Promise((resolve, reject) => {
    const json = body === undefined ? undefined : JSON.stringify(body);
    const content = json !== undefined && {
      'content-type': 'application/json',
      'content-length': Buffer.byteLength(json),
    };
    const signal = AbortSignal.timeout(timeoutMs ?? CALL_TIMEOUT_MS);
    const request = http.request({ socketPath: socket, method, path, headers: { host: 'docker', ...content }, signal });
    request.on('error', reject);
    request.on('response', (response) => {
      text(response).then((whole) => resolve({ status: response.statusCode ?? 0, text: whole }), reject);
    });
    request.end(json);
  });
}

function candidates(env: NodeJS.ProcessEnv): string[] {
  const host = env.DOCKER_HOST ?? '';
  // A user who points DOCKER_HOST elsewhere does not want the engine of this machine.
  if (host !== '') return host.startsWith('unix://') ? [host.slice('unix://'.length)] : [];
  const runtimeDir = env.XDG_RUNTIME_DIR;
  const sockets = ['/var/run/docker.sock', join(homedir(), '.docker/run/docker.sock')];
  if (runtimeDir) sockets.push(join(runtimeDir, 'docker.sock'));
  return sockets.filter((socket) => existsSync(socket));
}

function parse(text: string): Record<string, unknown> | undefined {
  try {
    return JSON.parse(text) as Record<string, unknown>;
  } catch {
    return undefined;
  }
}
