import { domainOf, formatImageReference, parseImageReference } from '../jobs/image-reference.js';
import type { JobDefinition } from '../jobs/job-definition.js';

/** A Docker Engine API call: unversioned, percent-encoded path; body = its JSON. docs.docker.com/reference/api/engine */
export type DockerRequest = { method: 'GET' | 'POST' | 'DELETE'; path: string; body?: Record<string, unknown> };

export type ContainerOwner = { cluster: string; job: string; deployment: number | string; attempt?: number | string };

/** An instance runs one container in its life; the fixed name is how a restarted agent or API finds it again. */
export const CONTAINER_NAME = 'job';

/** Answers 200 even when the pull fails: {@link parsePull} tells. */
export function pullRequest(image: string): DockerRequest {
  const { name, tag, digest } = parseImageReference(image);
  const version = digest ?? tag ?? 'latest';
  return {
    method: 'POST',
    path: `/images/create?fromImage=${encodeURIComponent(name)}&tag=${encodeURIComponent(version)}`,
  };
}

/** Host of the registry that a {@link pullRequest} asks; `docker.io` for the Hub. */
export function registryOfPull(path: string): string {
  const name = /[?&]fromImage=([^&]*)/.exec(path)?.[1] ?? '';
  return domainOf(decodeURIComponent(name)).toLowerCase();
}

export function imageInspectRequest(image: string): DockerRequest {
  return { method: 'GET', path: `/images/${formatImageReference(parseImageReference(image))}/json` };
}

/** @param imageRef what to run; a later attempt gives the recorded digest, so that it runs the same bits. */
export function createRequest(definition: JobDefinition, imageRef: string, owner: ContainerOwner): DockerRequest {
  const { command, entrypoint, env, ports, memoryMiB, cpus, rollout } = definition;
  const bindings: Record<string, { HostIp: string; HostPort: string }[]> = {};
  for (const { container, host } of ports) {
    (bindings[`${container}/tcp`] ??= []).push({ HostIp: '', HostPort: String(host) });
  }
  const body = {
    Image: formatImageReference(parseImageReference(imageRef)),
    ...(command !== undefined && { Cmd: command }),
    ...(entrypoint !== undefined && { Entrypoint: entrypoint }),
    Env: Object.entries(env).map(([name, value]) => `${name}=${value}`),
    ExposedPorts: Object.fromEntries(Object.keys(bindings).map((port) => [port, {}])),
    Labels: labels(owner),
    // Also holds when the engine itself goes down, on a reboot for one.
    StopTimeout: rollout.stopGraceSeconds,
    HostConfig: {
      PortBindings: bindings,
      ...(memoryMiB !== undefined && { Memory: memoryMiB * 1_048_576 }),
      ...(cpus !== undefined && { NanoCpus: Math.round(cpus * 1e9) }),
      // A container that exits before it was active is a failed deployment; a restart would hide it.
      RestartPolicy: { Name: 'no' },
      // Without bounds a chatty container fills the disk of its instance.
      LogConfig: { Type: 'json-file', Config: { 'max-size': '10m', 'max-file': '3' } },
      // PID 1 must reap and forward SIGTERM; most images leave that to their runtime.
      Init: true,
      NetworkMode: 'bridge',
      SecurityOpt: ['no-new-privileges'],
    },
  };
  return { method: 'POST', path: `/containers/create?name=${CONTAINER_NAME}`, body };
}

/** 204 started, 304 was running already. */
export function startRequest(): DockerRequest {
  return { method: 'POST', path: `/containers/${CONTAINER_NAME}/start` };
}

/** `not-running` answers at once for a container that has exited, `next-exit` waits for the next time. */
export function waitRequest(condition: 'not-running' | 'next-exit'): DockerRequest {
  return { method: 'POST', path: `/containers/${CONTAINER_NAME}/wait?condition=${condition}` };
}

export function inspectRequest(): DockerRequest {
  return { method: 'GET', path: `/containers/${CONTAINER_NAME}/json` };
}

/** The last `tail` lines of both streams, for `demultiplexLogs` of container-logs.ts. */
export function logsRequest(tail: number): DockerRequest {
  return { method: 'GET', path: `/containers/${CONTAINER_NAME}/logs?stdout=1&stderr=1&timestamps=1&tail=${tail}` };
}

/** Docker restarts with a delay that doubles from 100 ms to a minute and starts over after ten seconds of running. */
export function restartPolicyRequest(policy: 'no' | 'unless-stopped'): DockerRequest {
  return { method: 'POST', path: `/containers/${CONTAINER_NAME}/update`, body: { RestartPolicy: { Name: policy } } };
}

/** SIGTERM, then SIGKILL after the grace; answers when the container has ended. 204, or 304 when it had ended before. */
export function stopRequest(graceSeconds: number): DockerRequest {
  return { method: 'POST', path: `/containers/${CONTAINER_NAME}/stop?t=${graceSeconds}` };
}

export type PullResult = { ok: true } | { ok: false; kind: 'not-found' | 'unauthorized' | 'other'; message: string };

/** Docker's progress lines, perhaps cut off at the front, or the one object of an error status. */
export function parsePull(body: RawAnswer): PullResult {
  for (const line of text(body).split('\n').reverse()) {
    const message = errorMessage(parseJson(line));
    if (message !== undefined) return { ok: false, kind: pullFailure(message), message };
  }
  return { ok: true };
}

/** Docker's error object `{message}` of a 4xx or 5xx answer; undefined when it is something else. */
export function parseError(body: RawAnswer): string | undefined {
  return errorMessage(parseJson(text(body)));
}

export type ImageDetails = { id: string; digest?: string; exposedPorts: { port: number; protocol: string }[] };

/** `digest` is missing for an image that never was in a registry. With a name, its own digest is preferred. */
export function parseImageInspect(body: RawAnswer, name?: string): ImageDetails | undefined {
  const answer = record(parseJson(text(body)));
  if (typeof answer?.Id !== 'string') return undefined;
  const digests = Array.isArray(answer.RepoDigests) ? answer.RepoDigests.filter((d) => typeof d === 'string') : [];
  const digest = (digests.find((d) => d.startsWith(`${name ?? ''}@`)) ?? digests[0])?.split('@')[1];
  const exposedPorts = Object.keys(record(record(answer.Config)?.ExposedPorts) ?? {}).map((key) => {
    const [port, protocol] = key.split('/');
    return { port: Number(port), protocol: protocol ?? 'tcp' };
  });
  return { id: answer.Id, ...(digest !== undefined && { digest }), exposedPorts };
}

export type ContainerExit = { exitCode: number; error?: string };

export function parseWait(body: RawAnswer): ContainerExit | undefined {
  const answer = record(parseJson(text(body)));
  if (typeof answer?.StatusCode !== 'number') return undefined;
  const error = record(answer.Error)?.Message;
  return { exitCode: answer.StatusCode, ...(typeof error === 'string' && error !== '' && { error }) };
}

export type ContainerDetails = {
  id: string;
  status: string;
  isRunning: boolean;
  exitCode: number;
  isOutOfMemory: boolean;
  restartCount: number;
  /** As really published; the simulated engine may have to move a host port below 1024. */
  ports: { container: number; host: number }[];
  error?: string;
  startedAt?: string;
  finishedAt?: string;
};

export function parseInspect(body: RawAnswer): ContainerDetails | undefined {
  const answer = record(parseJson(text(body)));
  const state = record(answer?.State);
  if (answer === undefined || state === undefined || typeof answer.Id !== 'string') return undefined;
  const { Error: error, StartedAt: startedAt, FinishedAt: finishedAt } = state;
  return {
    id: answer.Id,
    status: typeof state.Status === 'string' ? state.Status : 'unknown',
    isRunning: state.Running === true,
    exitCode: typeof state.ExitCode === 'number' ? state.ExitCode : 0,
    isOutOfMemory: state.OOMKilled === true,
    restartCount: typeof answer.RestartCount === 'number' ? answer.RestartCount : 0,
    ports: Object.entries(record(record(answer.NetworkSettings)?.Ports) ?? {}).flatMap(publishedPorts),
    ...(typeof error === 'string' && error !== '' && { error }),
    ...(isTime(startedAt) && { startedAt }),
    ...(isTime(finishedAt) && { finishedAt }),
  };
}

/**
 * Docker shows the environment, and with it secrets, where it describes a container. An answer that cannot be read,
 * perhaps as it was cut, may hold any part of it: empty.
 */
export function withoutEnvironment(body: Uint8Array): Uint8Array {
  const json = text(body);
  if (body.length === 0 || (json.startsWith('{') && !json.includes('"Env"'))) return body;
  const answer = record(parseJson(json));
  if (answer === undefined) return new Uint8Array();
  const bare = { ...answer, Config: { ...record(answer.Config), Env: undefined } };
  return new TextEncoder().encode(JSON.stringify(bare));
}

function labels({ cluster, job, deployment, attempt }: ContainerOwner): Record<string, string> {
  return {
    'scheduler.cluster': cluster,
    'scheduler.job': job,
    'scheduler.deployment': String(deployment),
    ...(attempt !== undefined && { 'scheduler.attempt': String(attempt) }),
  };
}

type RawAnswer = Uint8Array | string;

function text(body: RawAnswer): string {
  return typeof body === 'string' ? body : new TextDecoder().decode(body);
}

function parseJson(json: string): unknown {
  try {
    return JSON.parse(json);
  } catch {
    return undefined;
  }
}

function record(value: unknown): Record<string, unknown> | undefined {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : undefined;
}

function errorMessage(value: unknown): string | undefined {
  const answer = record(value);
  const message = record(answer?.errorDetail)?.message ?? answer?.error ?? answer?.message;
  return typeof message === 'string' ? message : undefined;
}

/** Docker gives no code. Docker Hub answers "pull access denied" also for a repository that does not exist: likelier. */
function pullFailure(message: string): 'not-found' | 'unauthorized' | 'other' {
  if (/not found|manifest unknown|name unknown|does not exist|no such image/i.test(message)) return 'not-found';
  if (/unauthorized|denied|forbidden|authentication required|no basic auth|401/i.test(message)) return 'unauthorized';
  return 'other';
}

/** Docker lists a port once for IPv4 and once for IPv6, and with null when it is not published. */
function publishedPorts([port, bindings]: [string, unknown]): { container: number; host: number }[] {
  const hosts = (Array.isArray(bindings) ? bindings : []).map((binding) => Number(record(binding)?.HostPort));
  return [...new Set(hosts)]
    .filter((host) => Number.isInteger(host) && host > 0)
    .map((host) => ({ container: Number.parseInt(port, 10), host }));
}

/** Docker's zero time stands for "never". */
function isTime(value: unknown): value is string {
  return typeof value === 'string' && value !== '' && !value.startsWith('0001-');
}
