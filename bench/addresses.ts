import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, writeFileSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { endChild } from '../local/processes.ts';
import { freePort } from '../local/ports.ts';
import { until } from '../local/until.ts';
import { isListening } from '../test/support/listening.ts';
import { median } from '../test/support/median.ts';
import { NGINX, Nginx, nginxArguments, temporaryPaths } from '../test/support/nginx.ts';
import { processorMs } from './processor-time.ts';
import type { Row } from './table.ts';
import { wrk } from './wrk.ts';

const HOST = 'web.jobs.test';

/** `job`: host and port of a web server that is the job; default: one that is started here. */
export type Options = { readonly rounds: number; readonly seconds: number; readonly job: string | undefined };
/** An nginx under load: the process whose time counts, and where it listens. */
type Way = { readonly name: string; readonly pid: number; readonly url: string };
type Sample = { readonly processorMs: number; readonly p50Ms: number; readonly p99Ms: number };

/**
 * What a job's address costs: the stack's nginx, which asks for a lookup once a second and opens a connection for each
 * request, beside an nginx that has the job as its fixed upstream, with connections kept open and without.
 * @returns a row for each of the three
 */
export async function benchAddresses({ rounds, seconds, job }: Options): Promise<Row[]> {
  const directory = await mkdtemp(join(tmpdir(), 'scheduler-api-bench-'));
  const ends: (() => unknown)[] = [];
  try {
    const target = job ?? `127.0.0.1:${await freePort()}`;
    if (job === undefined) {
      const answers = `server { listen ${target}; location / { return 200 hello; } }`;
      const own = await plainNginx(join(directory, 'job'), answers, Number(target.split(':')[1]));
      ends.push(() => end(own));
    }
    const lookupPort = await freePort();
    const lookups = await answerLookups(target, lookupPort);
    ends.push(() => lookups.close());

    const port = await freePort();
    const stack = new Nginx({
      ...{ directory: join(directory, 'stack'), port, apiPorts: [lookupPort], jobsUrl: 'http://jobs.test:80' },
    });
    await stack.start();
    ends.push(() => stack.stop());
    const ways: Way[] = [{ name: 'address of a job', pid: stack.pid, url: `http://127.0.0.1:${port}/` }];
    for (const [name, upstream, header] of [
      ['fixed upstream, a connection a request', '', 'close'],
      ['fixed upstream, connections kept open', 'keepalive 64;', '""'],
    ] as const) {
      const own = await freePort();
      const fixed = await plainNginx(
        join(directory, `fixed-${own}`),
        `upstream job { server ${target}; ${upstream} }
         server {
           listen 127.0.0.1:${own};
           location / { proxy_pass http://job; proxy_http_version 1.1; proxy_set_header Connection ${header}; proxy_buffering off; }
         }`,
        own,
      );
      ends.push(() => end(fixed));
      ways.push({ name, pid: fixed.pid ?? 0, url: `http://127.0.0.1:${own}/` });
    }

    const samples = new Map<string, Sample[]>(ways.map(({ name }) => [name, []]));
    for (const way of ways) await measure(way, 1);
    for (let round = 0; round < rounds; round += 1) {
      for (const way of ways) samples.get(way.name)?.push(await measure(way, seconds));
    }
    return ways.map(({ name }) => rowOf(name, samples.get(name) ?? []));
  } finally {
    for (const one of ends.reverse()) await one();
    await rm(directory, { recursive: true, force: true });
  }
}

/** Processor time under load, and the time of requests that come one after the other. */
async function measure({ pid, url }: Way, seconds: number): Promise<Sample> {
  const headers = ['-H', `Host: ${HOST}`];
  const before = processorMs(pid);
  const busy = await wrk(['-t1', '-c16', `-d${seconds}s`, ...headers, url]);
  const used = processorMs(pid) - before;
  const quiet = await wrk(['-t1', '-c1', `-d${seconds}s`, '--latency', ...headers, url]);
  return { processorMs: used / busy.requests, p50Ms: quiet.p50Ms, p99Ms: quiet.p99Ms };
}

function rowOf(way: string, samples: readonly Sample[]): Row {
  const of = (value: (sample: Sample) => number): number => median(samples.map(value));
  const processor = of((one) => one.processorMs);
  return {
    way,
    'processor ms': processor.toFixed(3),
    'requests a second and core': (1000 / processor).toFixed(0),
    'p50 ms': of((one) => one.p50Ms).toFixed(2),
    'p99 ms': of((one) => one.p99Ms).toFixed(2),
  };
}

/** An nginx with this in its `http` block, and nothing of the stack's. */
async function plainNginx(directory: string, http: string, port: number): Promise<ChildProcess> {
  mkdirSync(directory, { recursive: true });
  writeFileSync(
    join(directory, 'nginx.conf'),
    `user root; worker_processes auto; pid ${directory}/nginx.pid;
     events { worker_connections 16384; }
     http { access_log ${directory}/access.log; ${temporaryPaths(directory).join(' ')} ${http} }`,
  );
  const nginx = spawn(NGINX, nginxArguments(directory, '-g', 'daemon off;'));
  await until(() => isListening(port));
  return nginx;
}

/** In place of the API, which is asked once a second at the most: its answer for a job that serves. */
async function answerLookups(target: string, port: number): Promise<Server> {
  const server = createServer((request, response) => {
    response.writeHead(200, {
      ...{ 'route-target': target, 'route-job': 'web', 'route-deployment': '1', 'route-known': 'yes' },
      ...{ 'cache-control': 'max-age=1, stale-if-error=22', 'content-length': '0' },
    });
    response.end();
  }).listen(port, '127.0.0.1');
  await once(server, 'listening');
  return server;
}

const end = (child: ChildProcess): Promise<void> =>
  endChild(child, child.pid ?? 0, { name: 'SIGTERM', limitMs: 5_000 });
