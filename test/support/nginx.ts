import { execFileSync, spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { until } from '../../local/until.ts';
import { isListening } from './listening.ts';

const TEMPLATES = join(import.meta.dirname, '../../deploy/nginx');

/** NGINX itself is a variable that nginx reads. */
export const NGINX = process.env['NGINX_PROGRAM'] ?? 'nginx';

export const NO_NGINX = 'no nginx on the PATH; NGINX_PROGRAM names one';

export function hasNginx(): boolean {
  return spawnSync(NGINX, ['-v']).status === 0;
}

export type NginxOptions = {
  /** Default: that of NGINX, or the one on the PATH. */
  readonly program?: string;
  /** For its configuration, its caches and its log; made when it is not there. */
  readonly directory: string;
  readonly port: number;
  /** Ports of the API on loopback. */
  readonly apiPorts: readonly number[];
  /** With `http://`, and a port. */
  readonly jobsUrl: string;
  /** ALLOWED_CIDRS, INGRESS_CIDRS and TRUSTED_PROXY of docker-compose.yml. */
  readonly allowedCidrs?: string;
  readonly ingressCidrs?: string;
  /** As JOBS_HOSTS: domains of hosts of jobs' own. */
  readonly jobsHosts?: readonly string[];
  /** Host of PUBLIC_URL. */
  readonly apiHost?: string;
  readonly trustedProxy?: string;
  /** BALANCER_PORT: a second port, the only one at which the proxy is believed. */
  readonly balancerPort?: number;
  /** With a listener for an ingress on a machine of its own, at this address and port. */
  readonly lookupsAt?: string;
  /** As an ingress on a machine of its own, without the API. */
  readonly apart?: {
    /** Name of the API's machine, whom to ask for its address, and the port that answers lookups there. */
    readonly apiName: string;
    readonly resolver: string;
    readonly lookupPort: number;
    /** On loopback: of what came to the balancer by TLS, and of nginx itself. */
    readonly tlsPort: number;
    readonly ownPort: number;
  };
};

/** For an nginx with all that is its own in a folder, `nginx.conf` among it. */
export function nginxArguments(directory: string, ...more: string[]): string[] {
  return ['-p', directory, '-c', join(directory, 'nginx.conf'), '-e', join(directory, 'error.log'), ...more];
}

/** Lines of its `http` block. */
export function temporaryPaths(directory: string): string[] {
  return ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((of) => `${of}_temp_path ${directory}/${of};`);
}

/** The stack's own nginx.conf on this machine, as the image's entrypoint and start.sh have it read. */
export class Nginx {
  readonly #options: NginxOptions;
  #process: ChildProcess | undefined;

  constructor(options: NginxOptions) {
    this.#options = options;
  }

  /** While it runs, that of the process whose children are the workers. */
  get pid(): number {
    return this.#process?.pid ?? 0;
  }

  async start(): Promise<void> {
    const { program = NGINX, directory, port } = this.#options;
    mkdirSync(join(directory, 'cache'), { recursive: true });
    this.#render();
    execFileSync(program, this.#arguments('-t'), { stdio: 'pipe' });
    this.#process = spawn(program, this.#arguments('-g', 'daemon off;'), { stdio: ['ignore', 'inherit', 'inherit'] });
    await until(() => isListening(port));
  }

  reload(): void {
    execFileSync(this.#options.program ?? NGINX, this.#arguments('-s', 'reload'), { stdio: 'pipe' });
  }

  async stop(): Promise<void> {
    const nginx = this.#process;
    if (!nginx || nginx.exitCode !== null) return;
    nginx.kill('SIGTERM');
    await once(nginx, 'exit');
  }

  #arguments(...more: string[]): string[] {
    const { directory } = this.#options;
    return nginxArguments(directory, ...more);
  }

  #render(): void {
    const { directory } = this.#options;
    for (const name of readdirSync(TEMPLATES).filter((file) => file.endsWith('.template'))) {
      const text = readFileSync(join(TEMPLATES, name), 'utf8');
      writeFileSync(join(directory, name.replace(/\.template$/, '')), this.#onThisMachine(this.#filledIn(text)));
    }
    writeFileSync(join(directory, 'mime.types'), 'types {}\n');
  }

  /** As start.sh and the entrypoint of the image do it. */
  #filledIn(template: string): string {
    const { jobsUrl, jobsHosts = [], apiHost, allowedCidrs = '', ingressCidrs = '' } = this.#options;
    const { trustedProxy = '255.255.255.255', balancerPort, port, lookupsAt, apart } = this.#options;
    const proxies = callers('TRUSTED_PROXY', trustedProxy);
    const variables: Readonly<Record<string, string>> = {
      ...{ SCHEDULER_HOST: apart?.apiName ?? 'scheduler', NGINX_RATE: '50', PROXY_NETWORKS: proxies },
      // As start.sh writes them.
      TRUSTED_PROXIES: proxies.replace('default 0;', '').replaceAll(/ (\S+) 1;/g, ' set_real_ip_from $1;'),
      BALANCER_PORT: String(balancerPort ?? port),
      BALANCER_LISTENER: balancerPort === undefined ? '' : `listen 127.0.0.1:${balancerPort} default_server;`,
      ...{ API_LISTENER: apart ? 'off' : 'on', AGENT_LISTENER: 'off', LOOKUP_LISTENER: lookupsAt ? 'on' : 'off' },
      LOOKUPS: apart ? `127.0.0.1:${apart.ownPort}` : 'scheduler:3000',
      SECOND_LISTENER: apart ? ' listen 81;' : balancerPort === undefined ? '' : ` listen 127.0.0.1:${balancerPort};`,
      TLS_PORT: String(apart?.tlsPort ?? 'none'),
      RESOLVER: apart?.resolver ?? '',
      ...{ INGRESS: 'on', JOBS_DOMAIN: new URL(jobsUrl).hostname },
      ...{ API_CALLERS: callers('ALLOWED_CIDRS', allowedCidrs), JOB_CALLERS: callers('INGRESS_CIDRS', ingressCidrs) },
      // As start.sh writes them.
      JOBS_HOST_NAMES: jobsHosts.map((domain) => ` ${domain === apiHost ? '*' : ''}.${domain}`).join(''),
      API_HOST_NAMES: apiHost === undefined ? '' : ` ${apiHost}`,
    };
    return template.replace(/\$\{([A-Z_]+)\}/g, (all, name: string) => variables[name] ?? all);
  }

  /** The image's folders and the names of the stack's network are not there. */
  #onThisMachine(text: string): string {
    const { directory, port, apiPorts, lookupsAt, apart } = this.#options;
    const replicas = apiPorts.map((api) => `server 127.0.0.1:${api} max_fails=0;`).join('\n    ');
    return text
      .replaceAll('server scheduler:3000 max_fails=0;', replicas)
      .replace(
        /^http \{$/m,
        `http {\n${temporaryPaths(directory)
          .map((line) => `  ${line}`)
          .join('\n')}`,
      )
      .replace(/listen 80\b/g, `listen 127.0.0.1:${port}`)
      .replace(/listen 81\b/g, `listen 127.0.0.1:${apart?.tlsPort ?? 81}`)
      .replace('listen 8081', `listen ${lookupsAt ?? '8081'}`)
      .replace('$api_host:8081', `$api_host:${apart?.lookupPort ?? 8081}`)
      .replace('user nginx;', 'user root;')
      .replace('/var/run/nginx.pid', `${directory}/nginx.pid`)
      .replaceAll('/etc/nginx/conf.d/', `${directory}/`)
      .replace('/etc/nginx/mime.types', `${directory}/mime.types`)
      .replaceAll('/var/cache/nginx', `${directory}/cache`)
      .replace('/dev/stderr', `${directory}/error.log`)
      .replaceAll('/dev/stdout', `${directory}/access.log`);
  }
}

function callers(name: string, networks: string): string {
  return execFileSync('sh', [join(TEMPLATES, 'networks.sh'), name, networks], { encoding: 'utf8' }).trim();
}
