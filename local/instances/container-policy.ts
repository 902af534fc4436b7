/** Whose containers these are; the labels are how a later run finds what a killed one left. */
export type ContainerOwner = { cloudId: string; instanceId: string; address: string };

export const CLOUD_LABEL = 'scheduler-local.cloud';
export const INSTANCE_LABEL = 'scheduler-local.instance';

export type Ruling =
  | { kind: 'forward'; path: string }
  | { kind: 'pull'; path: string; reference: string }
  | { kind: 'create'; query: URLSearchParams; name: string }
  | { kind: 'refuse'; why: string };

/** Calls on a container of its own, by the name the guest knows it by; never exec, never another's. */
const CONTAINER_CALLS = new Map([
  ['GET', ['json', 'logs', 'stats', 'top']],
  ['POST', ['start', 'stop', 'restart', 'kill', 'wait', 'update', 'pause', 'unpause', 'attach', 'resize']],
]);

/** Before it a container could be started with another HostConfig than it was created with. */
const OLDEST = 24;

/** Which calls a guest may make to the engine that all instances and the developer share. */
export function rule(method: string, path: string, owner: ContainerOwner): Ruling {
  const url = new URL(path, 'http://docker');
  const [, version = '', minor, bare = ''] = /^(\/v\d+\.(\d+))?(\/.*)$/.exec(url.pathname) ?? [];
  if (Number(minor ?? OLDEST) < OLDEST) return refuse(`the API before 1.${OLDEST} is not for instances`);
  if (/^\/(_ping|version)$/.test(bare) && ['GET', 'HEAD'].includes(method)) return { kind: 'forward', path };
  if (method === 'POST' && bare === '/images/create') {
    const reference = referenceOf(url.searchParams);
    if (reference === undefined) return refuse('only images from a registry may be created');
    return { kind: 'pull', path, reference };
  }
  if (method === 'GET' && /^\/images\/[^?]+\/json$/.test(bare)) return { kind: 'forward', path };
  if (method === 'POST' && bare === '/containers/create') {
    const name = url.searchParams.get('name') ?? '';
    if (!isName(name)) return refuse('a container needs a name of letters, digits, dots and hyphens');
    return { kind: 'create', query: url.searchParams, name };
  }
  const [, name = '', call = ''] = /^\/containers\/([^/]+)(?:\/([a-z]+))?$/.exec(bare) ?? [];
  const isAllowed = call === '' ? method === 'DELETE' : CONTAINER_CALLS.get(method)?.includes(call) === true;
  // An id would reach any container of this machine.
  if (!isAllowed || !isName(name)) return refuse(`${method} ${bare} is not for instances`);
  const rest = call === '' ? '' : `/${call}`;
  return { kind: 'forward', path: `${version}/containers/${ownName(name, owner)}${rest}${url.search}` };
}

/** Names are unique on an engine, and every instance calls its container `job`. */
export function ownName(name: string, { cloudId, instanceId }: ContainerOwner): string {
  return `${cloudId}-${instanceId}-${name}`;
}

/** As the scheduler's containers have them; NetworkingConfig for one could join a network of the developer's. */
const BODY = ['Image', 'Cmd', 'Entrypoint', 'Env', 'ExposedPorts', 'Labels', 'StopTimeout', 'HostConfig'];

/** Everything else in HostConfig can reach out of the container: mounts, devices, namespaces, capabilities. */
const HOST_CONFIG = [
  'PortBindings',
  'Memory',
  'NanoCpus',
  'RestartPolicy',
  'LogConfig',
  'Init',
  'PidsLimit',
  'NetworkMode',
  'SecurityOpt',
];

/**
 * The body to create the container with, or why not. Ports are published on the instance's own address.
 * @param extraHosts lines for the container's hosts file
 */
export function rewriteCreate(
  body: unknown,
  owner: ContainerOwner,
  extraHosts: readonly string[] = [],
): Record<string, unknown> | string {
  if (!isObject(body)) return 'the body must be a JSON object';
  for (const key of Object.keys(body)) if (!BODY.includes(key)) return `${key} is not for instances`;
  const hostConfig = isObject(body.HostConfig) ? body.HostConfig : {};
  for (const key of Object.keys(hostConfig))
    if (!HOST_CONFIG.includes(key)) return `HostConfig.${key} is not for instances`;
  if (!['', 'default', 'bridge', undefined].includes(hostConfig.NetworkMode as string | undefined)) {
    return 'HostConfig.NetworkMode must be bridge';
  }
  const options = hostConfig.SecurityOpt ?? [];
  if (!Array.isArray(options) || options.some((option) => option !== 'no-new-privileges')) {
    return 'HostConfig.SecurityOpt may hold no-new-privileges only';
  }
  const bindings = isObject(hostConfig.PortBindings) ? hostConfig.PortBindings : {};
  const published = Object.entries(bindings).map(([port, hosts]) => [
    port,
    // Nothing else of it: to the engine `hostip` is the same name, and the last one counts.
    (Array.isArray(hosts) ? hosts : []).map((host) => ({
      HostIp: owner.address,
      HostPort: isObject(host) ? host.HostPort : '',
    })),
  ]);
  return {
    ...body,
    Labels: {
      ...(isObject(body.Labels) ? body.Labels : {}),
      [CLOUD_LABEL]: owner.cloudId,
      [INSTANCE_LABEL]: owner.instanceId,
    },
    HostConfig: {
      ...hostConfig,
      PortBindings: Object.fromEntries(published) as Record<string, unknown>,
      ...(extraHosts.length > 0 && { ExtraHosts: extraHosts }),
    },
  };
}

function referenceOf(query: URLSearchParams): string | undefined {
  const image = query.get('fromImage') ?? '';
  const tag = query.get('tag') ?? '';
  if (image === '' || query.has('fromSrc')) return undefined;
  return tag === '' ? image : tag.includes(':') ? `${image}@${tag}` : `${image}:${tag}`;
}

/** Short hexadecimal names would be read as the beginning of an id; the prefix of ownName makes them names. */
function isName(name: string): boolean {
  return /^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$/.test(name);
}

function refuse(why: string): Ruling {
  return { kind: 'refuse', why };
}

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
