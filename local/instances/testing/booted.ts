import { once } from 'node:events';
import { createServer, type Server } from 'node:http';
import { buffer } from 'node:stream/consumers';
import type { BootedInstance, InstanceRuntime } from '../../cloud/runtime.ts';
import { Gate } from '../gate.ts';
import { SimulatedEngine } from '../simulated-engine.ts';
import { respond } from './agents-under-test.ts';

/** One instance, booted by hand instead of by the local cloud. */
export class BootedByHand {
  readonly id: string;
  readonly address: string;
  readonly shutdowns: string[] = [];
  console = '';
  #isFirstBoot = true;
  #ending = new AbortController();
  readonly #runtime: InstanceRuntime;
  readonly #metadataEndpoint: string;

  constructor(runtime: InstanceRuntime, id: string, address: string, metadataEndpoint: string) {
    this.#runtime = runtime;
    this.id = id;
    this.address = address;
    this.#metadataEndpoint = metadataEndpoint;
  }

  async boot(userData: string): Promise<void> {
    this.#ending = new AbortController();
    const instance: BootedInstance = {
      id: this.id,
      privateIp: this.address,
      publicIp: undefined,
      imageId: 'ami-1',
      instanceType: 't3.small',
      availabilityZone: 'us-west-2a',
      userData,
      isFirstBoot: this.#isFirstBoot,
      metadataEndpoint: this.#metadataEndpoint,
      signal: this.#ending.signal,
      guest: {
        shutdown: (how) => this.shutdowns.push(how),
        console: (text) => (this.console += text),
      },
    };
    this.#isFirstBoot = false;
    await this.#runtime.boot(instance);
  }

  async halt(how: 'terminate' | 'stop' | 'reboot' | 'kill'): Promise<void> {
    this.#ending.abort();
    await this.#runtime.halt(this.id, how);
  }
}

export const CLOUD_ID = 'test';

/** A simulated Docker Engine that knows its containers by the names that docker mode gives them. */
export async function serveSharedEngine(socket: string, instanceId: string, address: string): Promise<Server> {
  const engine = new SimulatedEngine({ address, gate: new Gate(), report: () => undefined });
  const server = createServer((request, response) => {
    const gone = new AbortController();
    response.on('close', () => gone.abort());
    const answer = async () => {
      const body = await buffer(request);
      const { method = '', url = '' } = request;
      const path = url.replaceAll(`${CLOUD_ID}-${instanceId}-job`, 'job');
      if (!path.startsWith('/containers/json')) return engine.handle({ method, path, body, signal: gone.signal });
      const { json = {} } = parse(
        (await engine.handle({ method, path: '/containers/job/json', body, signal: gone.signal })).body,
      );
      const status = json.State?.Status;
      const wanted = parse(Buffer.from(new URL(url, 'http://x').searchParams.get('filters') ?? '{}')).json?.status;
      const isListed = json.Id !== undefined && (wanted === undefined || wanted.includes(status ?? ''));
      return { status: 200, body: Buffer.from(JSON.stringify(isListed ? [{ Id: json.Id }] : [])) };
    };
    answer()
      .then((found) => respond(response, found))
      .catch(() => response.destroy());
  });
  server.on('close', () => void engine.halt());
  server.listen(socket);
  await once(server, 'listening');
  return server;
}

type Json = { Id?: string; State?: { Status?: string }; status?: string[] };

function parse(body: Buffer): { json?: Json } {
  return { json: JSON.parse(body.toString()) as Json };
}
