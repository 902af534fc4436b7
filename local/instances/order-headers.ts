export type DockerCall = {
  method: string;
  path: string;
  seconds: number;
  maxBytes: number;
  /** Becomes X-Registry-Auth. */
  registryAuth?: string;
};

/** The call, or what is wrong with it. */
export function readDockerCall(headers: Readonly<Record<string, string>>): DockerCall | string {
  const { 'docker-method': method = '', 'docker-path': path = '', 'docker-registry-auth': auth = '' } = headers;
  const seconds = naturalNumber(headers['order-timeout']);
  const maxBytes = naturalNumber(headers['docker-max-bytes'] ?? String(DEFAULT_MAX_BYTES));
  if (maxBytes === undefined) return 'malformed Docker-Max-Bytes';
  if (seconds === undefined || seconds === 0) return 'malformed Order-Timeout';
  if (!/^[A-Za-z0-9_=-]*$/.test(auth)) return 'malformed Docker-Registry-Auth';
  if (!PATH.test(path)) return 'malformed Docker-Path';
  if (!METHODS.includes(method)) return 'malformed Docker-Method';
  return { method, path, seconds, maxBytes, ...(auth !== '' && { registryAuth: auth }) };
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
// The same as in agent.sh.
const DEFAULT_MAX_BYTES = 262_144;
