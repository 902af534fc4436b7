import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingHttpHeaders, type Server, type ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { renderUserData } from '../../../src/agent/user-data.ts';
import { Gate } from '../gate.ts';
import { LONGEST_HEADERS } from '../agent-http.ts';
import { newDisk } from '../agent-world.ts';
import { runSimulatedAgent } from '../simulated-agent.ts';
import { Uplink } from '../uplink.ts';
import { SimulatedEngine, type EngineAnswer, type EngineRequest } from '../simulated-engine.ts';
import { readUserData } from '../simulated-runtime.ts';

export type EngineCall = { method: string; path: string; headers: IncomingHttpHeaders };

/** One instance whose agent can be killed and started again on the same disk. */
export type AgentUnderTest = {
  readonly address: string;
  readonly engineCalls: EngineCall[];
  readonly engine: EngineUnderTest;
  start(): Promise<void>;
  /** kill -9 of everything that runs; the disk and the engine stay. */
  kill(): Promise<void>;
  /** Arguments of every call of `shutdown` so far. */
  shutdowns(): string[];
  /** As if so much of its time had passed already. */
  setDeadMan(minutes: number, leftSeconds: number): void;
  remove(): Promise<void>;
};

export type Surroundings = { apiUrl: string; pins?: readonly string[]; metadataEndpoint: string; address: string };

/** Those that can run here. */
export function agentsHere(): [string, (around: Surroundings) => Promise<AgentUnderTest>][] {
  const simulated = (around: Surroundings) => Promise.resolve(simulatedAgent(around));
  if (hasCurl())
    return [
      ['the simulated agent', simulated],
      ['agent.sh', shellAgent],
    ];
  process.stderr.write('skipped: the agent script is not tested, because this machine has no curl\n');
  return [['the simulated agent', simulated]];
}

export function hasCurl(): boolean {
  return spawnSync('curl', ['--version'], { stdio: 'ignore' }).status === 0;
}

const SECRET = '5ec2e7'.padEnd(64, '0');
const script = readFileSync(join(import.meta.dirname, '../../../src/agent/agent.sh'), 'utf8');

function userData(apiUrl: string, pins: readonly string[] = []): string {
  return renderUserData({ script, apiUrl, pins, launchSecret: SECRET, cluster: 'test' });
}

/** The real user-data, run by `sh`; the engine answers on a Unix socket. */
export async function shellAgent({
  apiUrl,
  pins,
  metadataEndpoint,
  address,
}: Surroundings): Promise<AgentUnderTest & { folder: string }> {
  const folder = mkdtempSync(join(tmpdir(), 'agent-'));
  const socket = join(folder, 'docker.sock');
  const bin = join(folder, 'bin');
  mkdirSync(bin);
  for (const [name, body] of [
    ['shutdown', `echo "$*" >>'${folder}/shutdowns'`],
    ['systemctl', 'echo offline; exit 1'],
  ] as const) {
    writeFileSync(join(bin, name), `#!/bin/sh\n${body}\n`);
    chmodSync(join(bin, name), 0o755);
  }
  const engine = newEngine(address);
  const engineCalls: EngineCall[] = [];
  const server = await serveEngine(engine, socket, engineCalls);
  let child: ChildProcess | undefined;
  const kill = async () => {
    if (child?.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
    process.kill(-child.pid, 'SIGKILL');
    await once(child, 'exit');
  };
  return {
    folder,
    address,
    engineCalls,
    engine,
    start() {
      const env = {
        PATH: `${bin}:/usr/bin:/bin`,
        SCHEDULER_AGENT_DIR: join(folder, 'state'),
        AWS_EC2_METADATA_SERVICE_ENDPOINT: metadataEndpoint,
        DOCKER_SOCKET: socket,
      };
      child = spawn('sh', { env, detached: true, stdio: ['pipe', 'ignore', 'ignore'] });
      child.stdin?.end(userData(apiUrl, pins));
      return Promise.resolve();
    },
    kill,
    shutdowns: () =>
      existsSync(join(folder, 'shutdowns')) ? readFileSync(join(folder, 'shutdowns'), 'utf8').trim().split('\n') : [],
    setDeadMan(minutes, leftSeconds) {
      const deadline = Math.floor(Date.now() / 1000) + leftSeconds;
      writeFileSync(join(folder, 'state', 'dead-man'), `${minutes} ${deadline}\n`);
    },
    async remove() {
      await kill();
      await engine.halt();
      server.close();
      server.closeAllConnections();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** The agent that simulated instances run. */
export function simulatedAgent({ apiUrl, pins, metadataEndpoint, address }: Surroundings): AgentUnderTest {
  const engine = newEngine(address);
  const engineCalls: EngineCall[] = [];
  const disk = newDisk();
  const shutdowns: string[] = [];
  let ending = new AbortController();
  const settings = readUserData(userData(apiUrl, pins));
  if (settings === undefined) throw new Error('the simulated agent does not understand the user-data');
  return {
    address,
    engineCalls,
    engine,
    start() {
      ending = new AbortController();
      void runSimulatedAgent({
        ...settings,
        metadataEndpoint,
        disk,
        gate: new Gate(),
        uplink: new Uplink(),
        engine: (request) => {
          const { method, path, registryAuth } = request;
          engineCalls.push({ method, path, headers: { ...(registryAuth && { 'x-registry-auth': registryAuth }) } });
          return engine.handle(request);
        },
        portOf: (host) => engine.portOf(host),
        shutdown: (...args) => shutdowns.push(args.join(' ')),
        say: () => undefined,
        signal: ending.signal,
      });
      return Promise.resolve();
    },
    kill() {
      ending.abort();
      return Promise.resolve();
    },
    shutdowns: () => [...shutdowns],
    setDeadMan(minutes, leftSeconds) {
      disk.deadMan = { minutes, deadline: Date.now() + leftSeconds * 1000 };
    },
    async remove() {
      ending.abort();
      await engine.halt();
    },
  };
}

/** The simulated engine, except for the calls that a test answers itself. */
class EngineUnderTest extends SimulatedEngine {
  intercept: (path: URL) => EngineAnswer | undefined = () => undefined;

  override async handle(request: EngineRequest): Promise<EngineAnswer> {
    return this.intercept(new URL(request.path, 'http://docker')) ?? (await super.handle(request));
  }
}

function newEngine(address: string): EngineUnderTest {
  return new EngineUnderTest({ address, gate: new Gate(), report: () => undefined });
}

/** The engine on a Unix socket, as Docker answers there. */
export async function serveEngine(engine: SimulatedEngine, socket: string, calls: EngineCall[]): Promise<Server> {
  const server = createServer({ maxHeaderSize: LONGEST_HEADERS }, (request, response) => {
    const { method = '', url: path = '', headers } = request;
    const gone = new AbortController();
    response.on('close', () => gone.abort());
    calls.push({ method, path, headers });
    void buffer(request)
      .then((body) => engine.handle({ method, path, body, signal: gone.signal }))
      .then((answer) => respond(response, answer))
      .catch(() => response.destroy());
  });
  server.listen(socket);
  await once(server, 'listening');
  return server;
}

/** @throws when the engine breaks while it answers */
export async function respond(response: ServerResponse, { status, body, stream }: EngineAnswer): Promise<void> {
  response.writeHead(status, { 'content-type': 'application/json' });
  if (!stream) {
    response.end(body);
    return;
  }
  // Docker sends the status of a stream before there is anything in it.
  response.flushHeaders();
  for await (const chunk of stream) response.write(chunk);
  response.end();
}
