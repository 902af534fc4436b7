import { setTimeout as sleep } from 'node:timers/promises';
import { SimulatedContainer, type ContainerConfig, type Site } from './simulated-container.ts';
import {
  isLoggedIn,
  simulatedImage,
  SimulatedRegistry,
  splitReference,
  type SimulatedImage,
} from './simulated-images.ts';

export type EngineRequest = {
  method: string;
  /** Unversioned, as in Docker's reference, percent-encoded. */
  path: string;
  body: Buffer;
  /** X-Registry-Auth, if it came with one. */
  registryAuth?: string;
  signal: AbortSignal;
};
export type EngineAnswer = {
  status: number;
  body: Buffer;
  /** After the body, as it comes. */
  stream?: AsyncIterable<Buffer>;
};

/** The Docker Engine of one simulated instance: the calls the scheduler orders, with Docker's statuses and bodies. */
export class SimulatedEngine {
  readonly #site: Site;
  readonly #registry: SimulatedRegistry;
  readonly #images = new Map<string, SimulatedImage>();
  #pulls = 0;
  #container: SimulatedContainer | undefined;
  #brokenDown: PromiseWithResolvers<never> = neverSettled();
  #isBroken = false;
  #breaking = new AbortController();

  constructor(site: Site, registry = new SimulatedRegistry()) {
    this.#site = site;
    this.#registry = registry;
  }

  /** @throws while the engine is broken, and when it breaks before it has answered */
  async handle(request: EngineRequest): Promise<EngineAnswer> {
    return await Promise.race([this.#brokenDown.promise, this.#answer(request)]);
  }

  /** From now on it does not answer, and what waits for an answer gets none. */
  break(): void {
    this.#isBroken = true;
    this.#brokenDown.reject(new Error('the engine does not answer'));
    this.#breaking.abort();
  }

  mend(): void {
    if (!this.#isBroken) return;
    this.#isBroken = false;
    this.#brokenDown = neverSettled();
    this.#breaking = new AbortController();
  }

  /** The kernel kills the container's process, and Docker treats that like any other exit. */
  async exhaustMemory(): Promise<void> {
    await this.#container?.runOutOfMemory();
  }

  async failProgram(): Promise<void> {
    await this.#container?.failProgram();
  }

  async #answer(request: EngineRequest): Promise<EngineAnswer> {
    const url = new URL(request.path, 'http://docker');
    const call = `${request.method} ${url.pathname}`;
    if (call === 'POST /images/create') return this.#pull(url.searchParams, request);
    if (call === 'POST /containers/create') return this.#create(url.searchParams.get('name') ?? '', request.body);
    const image = /^GET \/images\/(.+)\/json$/.exec(call)?.[1];
    if (image !== undefined) return this.#inspectImage(decodeURIComponent(image));
    const [, method, name, action] = /^(GET|POST|DELETE) \/containers\/([^/]+)(\/[a-z]+)?$/.exec(call) ?? [];
    if (name === undefined) return json(404, { message: 'page not found' });
    const container = this.#container;
    if (container === undefined || !isNameOf(name, container))
      return json(404, { message: `No such container: ${name}` });
    switch (`${method ?? ''} ${action ?? ''}`) {
      case 'GET /json':
        return json(200, container.inspect());
      case 'GET /logs':
        return this.#logs(container, url.searchParams, request.signal);
      case 'POST /start':
        return this.#start(container);
      case 'POST /wait':
        return json(200, { StatusCode: await container.wait(url.searchParams.get('condition') ?? 'not-running') });
      case 'POST /update':
        return this.#update(container, request.body);
      case 'POST /stop':
        if (!container.isRunning) return empty(304);
        await container.stop();
        return empty(204);
      case 'DELETE ':
        return this.#remove(container, ['1', 'true'].includes(url.searchParams.get('force') ?? ''));
      default:
        return json(404, { message: 'page not found' });
    }
  }

  portOf(host: number): number {
    return this.#container?.portOf(host) ?? host;
  }

  /** The engine comes up with the machine: containers that were running then and are to be restarted start again. */
  async boot(): Promise<void> {
    this.mend();
    const container = this.#container;
    if (container?.restartsWithEngine !== true) return;
    await container
      .start()
      .catch((error: unknown) => this.#site.report(`container does not start again: ${String(error)}`));
  }

  /** The machine goes down; what is on its disk stays. */
  async halt(): Promise<void> {
    await this.#container?.kill();
  }

  async #pull(query: URLSearchParams, { signal, registryAuth }: EngineRequest): Promise<EngineAnswer> {
    const from = splitReference(query.get('fromImage') ?? '');
    const image = this.#registry.find(from.name, query.get('tag') ?? from.version);
    const shown = `${image.name}:${image.tag}`;
    await sleep(image.pullMs, undefined, { signal });
    if (!isLoggedIn(image.name, registryAuth)) {
      const [host = ''] = image.name.split('/');
      const message = `Head "https://${host}/v2/manifests/${image.tag}": no basic auth credentials`;
      return json(500, { message });
    }
    this.#pulls += 1;
    if (this.#pulls <= image.busyPulls) {
      return json(500, { message: 'toomanyrequests: retry-after: 1s, allowed: 100/hour' });
    }
    if (!image.isInRegistry) {
      return json(404, { message: `manifest for ${shown} not found: manifest unknown: manifest unknown` });
    }
    const isNew = !this.#images.has(`${image.name}@${image.digest}`);
    this.#images.set(`${image.name}@${image.digest}`, image);
    this.#images.set(`${image.name}:${image.tag}`, image);
    const layer = image.digest.slice(-12);
    const size = 31_457_280;
    const progress = [
      { status: 'Pulling fs layer', progressDetail: {}, id: layer },
      { status: 'Downloading', progressDetail: { current: size / 2, total: size }, id: layer },
      { status: 'Pull complete', progressDetail: {}, id: layer },
    ];
    const lines = [
      { status: `Pulling from ${image.name.includes('/') ? image.name : `library/${image.name}`}`, id: image.tag },
      ...(isNew ? progress : []),
      { status: `Digest: ${image.digest}` },
      { status: `Status: ${isNew ? 'Downloaded newer image' : 'Image is up to date'} for ${shown}` },
    ];
    return { status: 200, body: Buffer.from(lines.map((line) => `${JSON.stringify(line)}\r\n`).join('')) };
  }

  #inspectImage(reference: string): EngineAnswer {
    const image = this.#find(reference);
    if (image === undefined) return json(404, { message: `No such image: ${reference}` });
    return json(200, {
      Id: image.id,
      RepoTags: [`${image.name}:${image.tag}`],
      RepoDigests: image.isLocal ? [] : [`${image.name}@${image.digest}`],
      Os: 'linux',
      Config: { ExposedPorts: { '8080/tcp': {} }, Env: [], Cmd: ['sim'] },
    });
  }

  #create(name: string, body: Buffer): EngineAnswer {
    if (this.#container !== undefined) {
      const message = `Conflict. The container name "/${name}" is already in use by container "${this.#container.id}". You have to remove (or rename) that container to be able to reuse that name.`;
      return json(409, { message });
    }
    const config = readConfig(body);
    if (config === undefined)
      return json(400, { message: 'invalid JSON: config cannot be empty in order to create a container' });
    const image = this.#find(config.image);
    if (image === undefined) return json(404, { message: `No such image: ${config.image}` });
    this.#container = new SimulatedContainer(image, config, this.#site);
    return json(201, { Id: this.#container.id, Warnings: [] });
  }

  async #start(container: SimulatedContainer): Promise<EngineAnswer> {
    if (container.isRunning) return empty(304);
    try {
      await container.start();
      return empty(204);
    } catch (error) {
      const why = (error as NodeJS.ErrnoException).code === 'EADDRINUSE' ? 'port is already allocated' : String(error);
      return json(500, { message: `driver failed programming external connectivity on endpoint job: ${why}` });
    }
  }

  #update(container: SimulatedContainer, body: Buffer): EngineAnswer {
    const name = at(parse(body), 'RestartPolicy', 'Name');
    if (typeof name !== 'string') return json(400, { message: 'invalid JSON' });
    container.update(name);
    return json(200, { Warnings: null });
  }

  async #remove(container: SimulatedContainer, isForced: boolean): Promise<EngineAnswer> {
    if (container.isRunning && !isForced) {
      const message = `cannot remove container "/job": container is running: stop the container before removing or force remove`;
      return json(409, { message });
    }
    await container.kill();
    this.#container = undefined;
    return empty(204);
  }

  #logs(container: SimulatedContainer, query: URLSearchParams, signal: AbortSignal): EngineAnswer {
    const isSet = (name: string) => ['1', 'true'].includes(query.get(name) ?? '');
    const tail = query.get('tail') ?? 'all';
    const options = {
      stdout: isSet('stdout'),
      stderr: isSet('stderr'),
      timestamps: isSet('timestamps'),
      tail: /^\d+$/.test(tail) ? Number(tail) : Infinity,
      sinceNs: nanoseconds(query.get('since') ?? '0'),
    };
    if (!options.stdout && !options.stderr) {
      return json(400, { message: 'Bad parameters: you must choose at least one stream' });
    }
    if (!isSet('follow')) return { status: 200, body: container.logs(options) };
    const ended = AbortSignal.any([signal, this.#breaking.signal]);
    return { status: 200, body: Buffer.alloc(0), stream: container.followLogs(options, ended) };
  }

  #find(reference: string): SimulatedImage | undefined {
    if (/^sha256:[0-9a-f]{64}$/.test(reference)) return this.#registry.findLocal(reference);
    const { name, version } = splitReference(reference);
    const { name: shown } = simulatedImage(name, version);
    return this.#images.get(`${shown}${version.startsWith('sha256:') ? '@' : ':'}${version}`);
  }
}

function neverSettled(): PromiseWithResolvers<never> {
  const pending = Promise.withResolvers<never>();
  // It may be rejected while no call waits.
  pending.promise.catch(() => undefined);
  return pending;
}

/** `seconds[.fraction]`, as Docker takes times. */
function nanoseconds(time: string): bigint {
  const [seconds = '', fraction = ''] = time.split('.');
  return /^\d+$/.test(seconds) ? BigInt(seconds) * 1_000_000_000n + BigInt(fraction.padEnd(9, '0').slice(0, 9)) : 0n;
}

function isNameOf(name: string, container: SimulatedContainer): boolean {
  return name === 'job' || (name.length >= 12 && container.id.startsWith(name));
}

function readConfig(body: Buffer): ContainerConfig | undefined {
  const config = parse(body);
  const image = at(config, 'Image');
  if (typeof image !== 'string') return undefined;
  const env = at(config, 'Env');
  const bindings = Object.entries(object(at(config, 'HostConfig', 'PortBindings')));
  const restartPolicy = at(config, 'HostConfig', 'RestartPolicy', 'Name');
  return {
    image,
    env: Array.isArray(env) ? env.filter((entry) => typeof entry === 'string') : [],
    ports: bindings.flatMap(([key, hosts]) =>
      (Array.isArray(hosts) ? hosts : []).map((host: unknown) => ({
        container: Number.parseInt(key, 10),
        host: Number(at(host, 'HostPort')),
      })),
    ),
    labels: object(at(config, 'Labels')) as Record<string, string>,
    restartPolicy: typeof restartPolicy === 'string' && restartPolicy !== '' ? restartPolicy : 'no',
  };
}

function parse(body: Buffer): unknown {
  try {
    return JSON.parse(body.toString());
  } catch {
    return undefined;
  }
}

function at(value: unknown, ...keys: string[]): unknown {
  return keys.reduce((inner: unknown, key) => object(inner)[key], value);
}

function object(value: unknown): Record<string, unknown> {
  return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : {};
}

function json(status: number, value: unknown): EngineAnswer {
  return { status, body: Buffer.from(`${JSON.stringify(value)}\n`) };
}

function empty(status: number): EngineAnswer {
  return { status, body: Buffer.alloc(0) };
}
