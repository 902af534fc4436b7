export type DockerCall = {
  method: string;
  path: string;
  seconds: number;
  maxBytes: number;
  /** Of the body. */
  type: string;
  /** Becomes X-Registry-Auth. */
  registryAuth?: string;
};

/** The call, or what is wrong with it. */
export function readDockerCall(headers: Readonly<Record<string, string>>): DockerCall | string {
  const { 'docker-method': method = '', 'docker-path': path = '', 'docker-registry-auth': auth = '' } = headers;
  const type = headers['docker-content-type'] ?? 'application/json';
  const seconds = naturalNumber(headers['order-timeout']);
  const maxBytes = naturalNumber(headers['docker-max-bytes'] ?? String(DEFAULT_MAX_BYTES));
  if (maxBytes === undefined) return 'malformed Docker-Max-Bytes';
  if (seconds === undefined || seconds === 0) return 'malformed Order-Timeout';
  if (!/^[A-Za-z0-9_=-]*$/.test(auth)) return 'malformed Docker-Registry-Auth';
  if (!TYPE.test(type)) return 'malformed Docker-Content-Type';
  if (!PATH.test(path)) return 'malformed Docker-Path';
  if (!METHODS.includes(method)) return 'malformed Docker-Method';
  return { method, path, type, seconds, maxBytes, ...(auth !== '' && { registryAuth: auth }) };
}

export function lastBytes(body: Buffer, count: number): Buffer {
  return body.subarray(Math.max(0, body.length - count));
}

export function naturalNumber(text: string | undefined): number | undefined {
  return /^(0|[1-9]\d{0,8})$/.test(text ?? '') ? Number(text) : undefined;
}

export function milliseconds(seconds: string | undefined): number | undefined {
  return /^\d+(\.\d+)?$/.test(seconds ?? '') && (seconds ?? '').length < 10 ? Number(seconds) * 1000 : undefined;
}

const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'DELETE'];
const PATH = /^\/[A-Za-z0-9/._~%?&=:,+@-]*$/;
const TYPE = /^[a-z0-9.+-]+\/[a-z0-9.+-]+$/;

/** A stream that is shipped in segments: its name among those of the instance, and the request to Docker. */
export type StreamCall = { name: string; path: string; type: string; isFollowing: boolean };

/** The call, or what is wrong with it. */
export function readStreamCall(headers: Readonly<Record<string, string>>): StreamCall | string {
  const isFollowing = (kind: string) => headers[`${kind}-follow`] === 'yes';
  if (headers['order-kind'] === 'logs') {
    const path = `/containers/job/logs?stdout=1&stderr=1&timestamps=1${isFollowing('logs') ? '&follow=1' : ''}`;
    const type = 'application/vnd.docker.multiplexed-stream';
    return { name: 'logs', path, type, isFollowing: isFollowing('logs') };
  }
  const { 'stream-name': name = '', 'stream-content-type': type = '', 'docker-path': path = '' } = headers;
  if (!/^[a-z-]{1,17}$/.test(name)) return 'malformed Stream-Name';
  if (!PATH.test(path)) return 'malformed Docker-Path';
  if (!TYPE.test(type)) return 'malformed Stream-Content-Type';
  return { name: `stream-${name}`, path, type, isFollowing: isFollowing('stream') };
}

// The same as in agent.sh.
const DEFAULT_MAX_BYTES = 262_144;
