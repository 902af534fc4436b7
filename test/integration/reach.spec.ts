import { randomUUID } from 'node:crypto';
import { createServer as createHttpServer } from 'node:http';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { afterAll, afterEach, beforeAll, describe, expect, it, jest } from '@jest/globals';
import { reach } from '../../src/ingress/reach.ts';
import { reachChecks, ReachChecksService } from '../../src/ingress/reach-checks.service.ts';
import { JobDefinition } from '../../src/jobs/job-definition.ts';
import { NO_HOSTS } from '../../src/jobs/route-rules.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import { until } from '../../local/until.ts';

const URLS = { scheme: 'http:', domain: 'jobs.test', port: '' } as const;
const ADDRESSES = { ...URLS, private: URLS, hostRules: NO_HOSTS };
const DEFINITION = JobDefinition.parse({ ports: [{ container: 8080, host: 80 }] });

describe('the check of a port, from beside the ingress', () => {
  const servers: Server[] = [];
  const sockets = new Set<Socket>();
  let test: TestDatabase;
  let checks: ReachChecksService;
  beforeAll(async () => {
    test = await createTestDatabase();
    checks = new ReachChecksService(test.database, test.signals, 'api', ADDRESSES);
  });
  afterAll(async () => {
    await checks.onApplicationShutdown();
    await test.close();
  });
  afterEach(async () => {
    jest.restoreAllMocks();
    for (const socket of sockets) socket.destroy();
    for (const server of servers.splice(0)) server.close();
    await test.database.query('TRUNCATE jobs, instances CASCADE');
  });

  it.each([
    ['any status of HTTP', httpServer(500), 'http'],
    ['another protocol', tcpServer('-ERR unknown command\r\n'), 'other'],
    ['a connection that is closed', tcpServer(null), 'other'],
  ] as const)('tells %s', async (_, server, found) => {
    expect(await reach('127.0.0.1', await listen(server), NEVER)).toBe(found);
  });

  it('tells a port that refuses, and an address that is none', async () => {
    const port = await listen(createServer());
    servers.splice(0).forEach((server) => server.close());
    expect(await reach('127.0.0.1', port, NEVER)).toBe('nothing');
    expect(await reach('not an address', port, NEVER)).toBe('nothing');
  });

  it('tells one that says nothing for ten seconds, and ends at once when this process ends', async () => {
    const port = await listen(tcpServer(''));
    expect(await reach('127.0.0.1', port, NEVER)).toBe('silent');
    await reach('127.0.0.1', port, AbortSignal.timeout(50));
  }, 30_000);

  it('stores HTTP at once, and makes the job due', async () => {
    const { jobId, attemptId } = await insert(await listen(httpServer(404)));
    await checks.run();
    await until(async () => (await found(attemptId)) === 'http');
    const [job] = await test.database.query('SELECT next_pass_at IS NOT NULL AS due FROM jobs WHERE id = $1', [jobId]);
    expect(job).toEqual({ due: true });
    expect(await checks.run()).toBe(5_000);
  });

  it('stores that there is nothing only after half a minute of its own, and goes on asking until then', async () => {
    const port = await listen(createServer());
    servers.splice(0).forEach((server) => server.close());
    const { attemptId } = await insert(port);
    expect(await checks.run()).toBe(1_000);
    await checks.idle();
    expect(await found(attemptId)).toBeNull();
    const now = Date.now();
    jest.spyOn(Date, 'now').mockReturnValue(now + 29_000);
    await checks.run();
    await checks.idle();
    expect(await found(attemptId)).toBeNull();
    jest.spyOn(Date, 'now').mockReturnValue(now + 31_000);
    await checks.run();
    await checks.idle();
    expect(await found(attemptId)).toBe('nothing');
  });

  it('counts what was found once, whatever process stores it', async () => {
    const counted: string[] = [];
    const leave = reachChecks.subscribe(({ found: one }) => counted.push(one));
    const { attemptId } = await insert(await listen(httpServer(200)));
    const other = new ReachChecksService(test.database, test.signals, 'api', ADDRESSES);
    await Promise.all([checks.run(), other.run()]);
    await Promise.all([checks.idle(), other.idle()]);
    leave();
    expect([await found(attemptId), counted]).toEqual(['http', ['http']]);
  });

  it('tries a port once a second, however often it looks', async () => {
    const server = tcpServer(null);
    let connections = 0;
    server.on('connection', () => (connections += 1));
    await insert(await listen(server));
    const now = Date.now();
    for (const [laterMs, count] of [
      [0, 1],
      [500, 1],
      [1_000, 2],
    ] as const) {
      jest.spyOn(Date, 'now').mockReturnValue(now + laterMs);
      await checks.run();
      await checks.idle();
      expect(connections).toBe(count);
    }
  });

  it('does not ask about what is not healthy, has no address, or is known', async () => {
    for (const change of [`phase = 'starting'`, `reach_port = NULL`, `reached_as = 'other'`]) {
      await insert(1, change);
    }
    await test.database.query(`UPDATE instances SET private_ip = '127.0.0.1'`);
    const { attemptId } = await insert(1);
    await test.database.query(
      'UPDATE instances SET private_ip = NULL WHERE id IN (SELECT instance_id FROM assignments WHERE attempt_id = $1)',
      [attemptId],
    );
    expect(await checks.run()).toBe(5_000);
  });

  it('does not ask at an address that EC2 has given to another instance since', async () => {
    const { attemptId } = await insert(await listen(httpServer(200)));
    await test.database.query(`UPDATE instances SET launched_at = launched_at - interval '1 hour'`);
    await test.database.query(
      `INSERT INTO instances (id, state, private_ip) VALUES ('i-next', 'running', '127.0.0.1')`,
    );
    expect(await checks.run()).toBe(5_000);
    expect(await found(attemptId)).toBeNull();
  });

  it('stores nothing of a port that is no longer the one that counts', async () => {
    const moved = Promise.withResolvers<null>();
    const server = createHttpServer((_, response) => void moved.promise.then(() => response.end()));
    const { attemptId } = await insert(await listen(server));
    await checks.run();
    await test.database.query('UPDATE attempts SET reach_port = 1 WHERE id = $1', [attemptId]);
    moved.resolve(null);
    await checks.idle();
    expect(await found(attemptId)).toBeNull();
  });

  const found = async (attemptId: string): Promise<string | null | undefined> =>
    (
      await test.database.query<{ found: string | null }>('SELECT reached_as AS found FROM attempts WHERE id = $1', [
        attemptId,
      ])
    )[0]?.found;

  async function insert(port: number, change = 'reached_as = NULL'): Promise<{ jobId: string; attemptId: string }> {
    const [jobId, deploymentId, attemptId] = [randomUUID(), randomUUID(), randomUUID()];
    const instanceId = `i-${attemptId.slice(0, 8)}`;
    const query = (sql: string, values: unknown[]): Promise<unknown> => test.database.query(sql, values);
    await query(`INSERT INTO jobs (id, name, kind, definition, next_pass_at) VALUES ($1, $2, 'service', $3, NULL)`, [
      jobId,
      `job-${jobId.slice(0, 8)}`,
      DEFINITION,
    ]);
    await query(
      `INSERT INTO deployments (id, job_id, number, image, definition, trigger) VALUES ($1, $2, 1, 'web:1', $3, 'api')`,
      [deploymentId, jobId, DEFINITION],
    );
    await query(
      `INSERT INTO attempts (id, job_id, deployment_id, number, shape_key, phase, priority, reach_port, reach_asked_at)
       VALUES ($1, $2, $3, 1, 'shape', 'healthy', 2, $4, clock_timestamp())`,
      [attemptId, jobId, deploymentId, port],
    );
    await query(`UPDATE attempts SET ${change} WHERE id = $1`, [attemptId]);
    await query(`INSERT INTO instances (id, state, private_ip) VALUES ($1, 'running', '127.0.0.1')`, [instanceId]);
    await query('INSERT INTO assignments (attempt_id, instance_id) VALUES ($1, $2)', [attemptId, instanceId]);
    return { jobId, attemptId };
  }

  async function listen(server: Server): Promise<number> {
    servers.push(server);
    server.on('connection', (socket: Socket) => sockets.add(socket));
    await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
    return (server.address() as AddressInfo).port;
  }
});

const NEVER = new AbortController().signal;

function httpServer(status: number): Server {
  return createHttpServer((_, response) => response.writeHead(status).end('body'));
}

/** @param says null = it closes the connection; empty = nothing */
function tcpServer(says: string | null): Server {
  return createServer((socket) => {
    socket.on('error', () => undefined);
    if (says === null) socket.end();
    else if (says !== '') socket.write(says);
  });
}
