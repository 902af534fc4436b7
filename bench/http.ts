import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { freePort } from '../local/ports.ts';
import { startPostgres } from '../local/postgres.ts';
import { median } from '../test/support/median.ts';
import { until } from '../local/until.ts';
import { processorMs } from './processor-time.ts';
import type { Row } from './table.ts';
import { wrk } from './wrk.ts';

const JOBS = 10_000;
const CONNECTIONS = 16;
const READY_MS = 60_000;
const root = join(import.meta.dirname, '..');

type Server = { readonly pid: number; readonly url: string; stop(): Promise<void> };
type Request = { readonly name: string; readonly lua: string };
type Sample = { readonly serverMs: number; readonly databaseMs: number; readonly perSecond: number };

/** For wrk. `n` is a job's number, drawn for each request; both servers have the same paths. */
const REQUESTS: readonly Request[] = [
  { name: 'GET /v1/jobs/{name}', lua: `return wrk.format("GET", "/v1/jobs/" .. name(), headers)` },
  { name: 'GET /v1/jobs?limit=50', lua: `return wrk.format("GET", "/v1/jobs?limit=50", headers)` },
  {
    name: 'POST …/deployments',
    lua: `return wrk.format("POST", "/v1/jobs/" .. name() .. "/deployments", headers, '{"image":"nginx:1.28"}')`,
  },
];

/** @returns a row for each kind of request: milliseconds of processor time, and the ratio to the floor */
export async function benchHttp({ rounds, seconds }: { rounds: number; seconds: number }): Promise<Row[]> {
  const directory = await mkdtemp(join(tmpdir(), 'scheduler-api-bench-'));
  const postgres = await startPostgres({ directory });
  const servers: Server[] = [];
  try {
    const token = randomBytes(32).toString('hex');
    const environment = {
      DATABASE_URL: postgres.url,
      ENCRYPTION_KEY: randomBytes(32).toString('base64'),
      ADMIN_TOKEN: token,
      // The loops are measured elsewhere; a limit would end the run within a second.
      ROLE: 'api',
      RATE_LIMIT: '1000000',
      LOG_LEVEL: 'warn',
      ENV_FILE: '/dev/null',
    };
    const api = await start('dist/main.js', environment, '/health/ready');
    servers.push(api);
    await fill(postgres.url, api.url, token);
    const floor = await start('bench/floor.ts', { DATABASE_URL: postgres.url }, '/v1/jobs/job-1');
    servers.push(floor);

    const rows: Row[] = [];
    for (const request of REQUESTS) {
      const script = join(directory, 'request.lua');
      await writeFile(script, scriptOf(request, token));
      const samples = { api: [] as Sample[], floor: [] as Sample[] };
      const measure = (server: Server, duration: number): Promise<Sample> =>
        load(server, { script, seconds: duration, postgresPid: postgres.pid });
      for (const server of [floor, api]) await measure(server, 2);
      for (let round = 0; round < rounds; round += 1) {
        samples.floor.push(await measure(floor, seconds));
        samples.api.push(await measure(api, seconds));
      }
      rows.push(rowOf(request.name, samples));
    }
    return rows;
  } finally {
    for (const server of servers) await server.stop();
    await postgres.stop();
    await rm(directory, { recursive: true, force: true });
  }
}

async function start(file: string, environment: Record<string, string>, readyPath: string): Promise<Server> {
  const port = await freePort();
  const child = spawn(process.execPath, [join(root, file)], {
    env: { PATH: process.env['PATH'], ...environment, PORT: String(port) },
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  const url = `http://127.0.0.1:${port}`;
  const stop = async (): Promise<void> => {
    const ended = once(child, 'exit');
    if (child.kill()) await ended;
  };
  await until(async () => {
    if (child.exitCode !== null) throw new Error(`${file} ended with code ${child.exitCode}`);
    return await fetch(`${url}${readyPath}`).then(
      ({ ok }) => ok,
      () => false,
    );
  }, READY_MS);
  return { pid: child.pid ?? 0, url, stop };
}

/** Job 1 as the API makes it, and copies of its rows. */
async function fill(databaseUrl: string, url: string, token: string): Promise<void> {
  const made = await fetch(`${url}/v1/jobs`, {
    method: 'POST',
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' },
    body: JSON.stringify({
      name: 'job-1',
      image: 'nginx:1.28',
      env: { GREETING: 'one' },
      ports: [{ container: 80, host: 8080 }],
      health: { path: '/', port: 8080 },
    }),
  });
  if (made.status !== 201) throw new Error(`job-1 could not be made: ${await made.text()}`);
  const client = new pg.Client({ connectionString: databaseUrl });
  await client.connect();
  await client.query(`SET search_path TO "scheduler-jobs"`);
  await client.query(
    `WITH copies AS (
      INSERT INTO jobs SELECT (jsonb_populate_record(j, jsonb_build_object('id', gen_random_uuid(), 'name', 'job-' || n))).*
      FROM jobs j, generate_series(2, $1::int) n RETURNING id
    )
    INSERT INTO deployments
    SELECT (jsonb_populate_record(d, jsonb_build_object('id', gen_random_uuid(), 'job_id', copies.id))).*
    FROM deployments d, copies`,
    [JOBS],
  );
  await client.query('VACUUM ANALYZE');
  await client.end();
}

function scriptOf({ lua }: Request, token: string): string {
  return `math.randomseed(1)
headers = { ["Authorization"] = "Bearer ${token}", ["Content-Type"] = "application/json" }
function name() return "job-" .. math.random(1, ${JOBS}) end
function request() ${lua} end
`;
}

async function load(
  { pid, url }: Server,
  { script, seconds, postgresPid }: { script: string; seconds: number; postgresPid: number },
): Promise<Sample> {
  const before = [processorMs(pid), processorMs(postgresPid)] as const;
  const args = ['-t1', `-c${CONNECTIONS}`, `-d${seconds}s`, '-s', script, url];
  const { requests: count } = await wrk(args);
  return {
    serverMs: (processorMs(pid) - before[0]) / count,
    databaseMs: (processorMs(postgresPid) - before[1]) / count,
    perSecond: count / seconds,
  };
}

function rowOf(name: string, samples: { readonly api: readonly Sample[]; readonly floor: readonly Sample[] }): Row {
  const of = (which: readonly Sample[], value: (sample: Sample) => number): number => median(which.map(value));
  const server = [of(samples.api, (one) => one.serverMs), of(samples.floor, (one) => one.serverMs)] as const;
  const database = [of(samples.api, (one) => one.databaseMs), of(samples.floor, (one) => one.databaseMs)] as const;
  return {
    request: name,
    'API ms': `${server[0].toFixed(3)} (${database[0].toFixed(3)})`,
    'floor ms': `${server[1].toFixed(3)} (${database[1].toFixed(3)})`,
    ratio: `${(server[0] / server[1]).toFixed(2)} ×`,
    'with Postgres': `${((server[0] + database[0]) / (server[1] + database[1])).toFixed(2)} ×`,
    'API requests/s': of(samples.api, (one) => one.perSecond).toFixed(0),
    'floor requests/s': of(samples.floor, (one) => one.perSecond).toFixed(0),
  };
}
