import { domainOf, formatImageReference, parseImageReference } from '../jobs/image-reference.js';
import type { JobDefinition } from '../jobs/job-definition.js';

/** A Docker Engine API call: unversioned, percent-encoded path; body = its JSON. docs.docker.com/reference/api/engine */
export type DockerRequest = { method: 'GET' | 'POST' | 'DELETE'; path: string; body?: Record<string, unknown> };

/** Whose container it is: labels, for people and their tools on the instance. */
export type ContainerOwner = {
  readonly cluster: string;
  /** Name. */
  readonly job: string;
  /** A name that is free again starts its numbers over: only the id is unique. */
  readonly deploymentId: string;
  readonly deployment: number;
  readonly attempt: number;
};

/** An instance runs one container in its life; the fixed name is how a restarted agent or API finds it again. */
export const CONTAINER_NAME = 'job';

/** Processes and threads. A JVM with a thousand threads has room; the kernel's own limit is some 32,000. */
const MOST_PROCESSES = 4096;

/** Docker answers 200 even when the pull fails: `readAnswer` of order-answer.ts finds out. */
export function pullRequest(image: string): DockerRequest {
  const { name, tag, digest } = parseImageReference(image);
  const version = digest ?? tag ?? 'latest';
  return {
    method: 'POST',
    path: `/images/create?fromImage=${encodeURIComponent(name)}&tag=${encodeURIComponent(version)}`,
  };
}

/** Host of the registry that a {@link pullRequest} pulls from; `docker.io` for the Hub. */
export function registryOfPull(path: string): string {
  const name = /[?&]fromImage=([^&]*)/.exec(path)?.[1] ?? '';
  return domainOf(decodeURIComponent(name)).toLowerCase();
}

export function imageInspectRequest(image: string): DockerRequest {
  return { method: 'GET', path: `/images/${formatImageReference(parseImageReference(image))}/json` };
}

/** @param imageRef what to run; a later attempt gives the recorded digest, so that it runs the same bits. */
export function createRequest(definition: JobDefinition, imageRef: string, owner: ContainerOwner): DockerRequest {
  const { command, entrypoint, env, ports, memoryMiB, cpus, init, noNewPrivileges, rollout } = definition;
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
    // Also applies when the engine itself stops, as on a reboot.
    StopTimeout: rollout.stopGraceSeconds,
    HostConfig: {
      PortBindings: bindings,
      ...(memoryMiB !== undefined && { Memory: memoryMiB * 1_048_576 }),
      ...(cpus !== undefined && { NanoCpus: Math.round(cpus * 1e9) }),
      // A container that exits before it was active is a failed deployment; a restart would hide it.
      RestartPolicy: { Name: 'no' },
      // Without bounds a chatty container fills the disk of its instance.
      LogConfig: { Type: 'json-file', Config: { 'max-size': '10m', 'max-file': '3' } },
      // A fork bomb must leave the agent able to report it.
      PidsLimit: MOST_PROCESSES,
      // Left out unless set: the engine may have defaults of its own, as for docker run.
      ...(init && { Init: true }),
      NetworkMode: 'bridge',
      ...(noNewPrivileges && { SecurityOpt: ['no-new-privileges'] }),
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

/** The last `tail` lines of both streams. */
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

function labels({ cluster, job, deploymentId, deployment, attempt }: ContainerOwner): Record<string, string> {
  return {
    'scheduler.cluster': cluster,
    'scheduler.job': job,
    'scheduler.deployment': String(deployment),
    'scheduler.deployment-id': deploymentId,
    'scheduler.attempt': String(attempt),
  };
}
