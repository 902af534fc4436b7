import { createHmac, createSecretKey, randomUUID } from 'node:crypto';
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { createSimulatedRuntime } from '../../local/instances/simulated-runtime.ts';
import { IdempotencyKeys } from '../../src/api/idempotency-keys.ts';
import { type Api, startApi } from '../support/api.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';
import { startStack, type Stack } from '../support/stack.ts';

const ADMIN_TOKEN = 'the-token-of-the-operator';

describe('a call with an Idempotency-Key', () => {
  let api: Api;
  let test: TestDatabase;

  beforeAll(async () => {
    test = await createTestDatabase();
    api = await startApi({ databaseUrl: test.url, env: { ADMIN_TOKEN, ROLE: 'api' } });
  });

  afterAll(async () => {
    await api.close();
    await test.close();
  });

  const send = (method: string, path: string, key: string, body?: object, headers: Record<string, string> = {}) =>
    api.request(method, path, { headers: { 'idempotency-key': key, ...headers }, ...(body && { body }) });
  const count = async (table: string) =>
    (await test.database.query<{ n: number }>(`SELECT count(*)::int AS n FROM ${table}`))[0]!.n;

  it('is carried out once, and its repeats get the same answer', async () => {
    const body = { name: 'once', image: 'app:1' };
    const first = await send('POST', '/v1/jobs', 'k-once', body);
    const again = await send('POST', '/v1/jobs', 'k-once', body);
    expect(first.status).toBe(201);
    expect(first.headers.has('idempotency-replayed')).toBe(false);
    expect(again.headers.get('idempotency-replayed')).toBe('true');
    expect([again.status, again.text]).toEqual([first.status, first.text]);
    for (const name of ['location', 'etag', 'content-type']) {
      expect(again.headers.get(name)).toBe(first.headers.get(name));
    }
  });

  it('is one for every changing call', async () => {
    await send('POST', '/v1/jobs', randomUUID(), { name: 'every', image: 'app:1' });
    const twice = async (method: string, path: string, body?: object) => {
      const key = randomUUID();
      const [first, again] = [await send(method, path, key, body), await send(method, path, key, body)];
      expect([again.status, again.text]).toEqual([first.status, first.text]);
      expect(again.headers.get('idempotency-replayed')).toBe('true');
      return first;
    };
    expect((await twice('POST', '/v1/jobs/every/deployments', { image: 'app:2' })).body).toMatchObject({ number: 2 });
    expect((await twice('POST', '/v1/jobs/every/deployments/2/cancel')).status).toBe(202);
    expect((await twice('PATCH', '/v1/jobs/every', { memoryMiB: 64 })).headers.get('etag')).toBe('"2"');
    expect((await twice('POST', '/v1/jobs/every/stop')).status).toBe(202);
    expect((await twice('POST', '/v1/jobs/every/start')).body).toMatchObject({ number: 3 });
    expect((await twice('DELETE', '/v1/jobs/every')).status).toBe(202);
  });

  it('has the job passes woken after its commit', async () => {
    const heard = new Promise<void>((done) => test.signals.on('jobs', () => done()));
    await send('POST', '/v1/jobs', randomUUID(), { name: 'woken', image: 'app:1' });
    await heard;
  });

  it.each([
    ['another body', 'POST', '/v1/jobs', { name: 'other' }, {}],
    ['another path', 'POST', '/v1/jobs/reused/deployments', { name: 'reused' }, {}],
    ['another method', 'DELETE', '/v1/jobs/reused', undefined, {}],
    ['another version', 'POST', '/v1/jobs', { name: 'reused' }, { 'if-match': '"7"' }],
  ])('is refused when the key was that of %s', async (_what, method, path, body, headers) => {
    await send('POST', '/v1/jobs', 'k-reused', { name: 'reused' });
    const refused = await send(method, path, 'k-reused', body, headers);
    expect(refused).toMatchObject({ status: 409, body: { type: '/problems/idempotency-key-reused' } });
    expect((await api.request('GET', '/v1/jobs/other')).status).toBe(404);
  });

  it('keeps its key when it fails: nothing was changed', async () => {
    await send('POST', '/v1/jobs', randomUUID(), { name: 'failing' });
    expect((await send('POST', '/v1/jobs/failing/restart', 'k-failing')).status).toBe(409);
    expect((await send('POST', '/v1/jobs', 'k-invalid', { name: 'UPPER' })).status).toBe(422);
    expect(await test.database.query(`SELECT 1 FROM idempotency_keys WHERE key IN ('k-failing', 'k-invalid')`)).toEqual(
      [],
    );
    await api.request('POST', '/v1/jobs/failing/deployments', { body: { image: 'app:1' } });
    expect((await send('POST', '/v1/jobs/failing/restart', 'k-failing')).status).toBe(409);
    await test.database.query(`UPDATE deployments SET active_at = clock_timestamp() WHERE image = 'app:1'`);
    expect((await send('POST', '/v1/jobs/failing/restart', 'k-failing')).status).toBe(202);
  });

  it('belongs to its caller', async () => {
    const made = await send('POST', '/v1/tokens', randomUUID(), { name: 'x', role: 'deployer' });
    const { token } = made.body as { token: string };
    await send('POST', '/v1/jobs', 'k-mine', { name: 'mine' });
    const theirs = await send('POST', '/v1/jobs', 'k-mine', { name: 'theirs' }, { authorization: `Bearer ${token}` });
    expect(theirs).toMatchObject({ status: 201, body: { name: 'theirs' } });
  });

  it('gets a new token again, which is in the database nowhere', async () => {
    const body = { name: 'again', role: 'viewer' };
    const first = await send('POST', '/v1/tokens', 'k-token', body);
    const again = await send('POST', '/v1/tokens', 'k-token', body);
    expect(again.text).toBe(first.text);
    expect(again.headers.get('cache-control')).toBe('no-store');
    const { token } = first.body as { token: string };
    const [row] = await test.database.query<{ text: string }>(
      `SELECT string_agg(encode(answer, 'escape'), '') AS text FROM idempotency_keys`,
    );
    expect(row?.text).not.toContain(token.slice(13));
  });

  it('is not carried out again when its answer cannot be read any more', async () => {
    await send('POST', '/v1/jobs', 'k-sealed', { name: 'sealed', image: 'app:1' });
    await send('POST', '/v1/jobs/sealed/deployments', 'k-other-key', { image: 'app:2' });
    await test.database.query(`UPDATE idempotency_keys SET answer = '\\x0102' WHERE key = 'k-other-key'`);
    const refused = await send('POST', '/v1/jobs/sealed/deployments', 'k-other-key', { image: 'app:2' });
    expect(refused).toMatchObject({ status: 409, body: { type: '/problems/conflict' } });
    expect((await api.request('GET', '/v1/jobs/sealed')).body).toMatchObject({ latestDeployment: 2 });
  });

  it.each(['', 'with space', 'x'.repeat(256), 'ümlaut'])('is refused with the key %j', async (key) => {
    const before = await count('jobs');
    const refused = await send('POST', '/v1/jobs', key, { name: 'bad-key' });
    expect(refused).toMatchObject({ status: 400, body: { errors: [{ header: 'Idempotency-Key' }] } });
    expect(await count('jobs')).toBe(before);
  });

  it('of the version before is known again: its fingerprints were made with the key itself', async () => {
    const key = createSecretKey(Buffer.alloc(32, 1));
    const keys = new IdempotencyKeys(test.database, [key]);
    const call = { caller: 'former', key: 'k-former', content: 'POST /v1/jobs {}' };
    const answer = { status: 201, headers: {}, body: 'x' } as unknown as Awaited<
      ReturnType<typeof keys.once>
    >['answer'];
    const once = (content: string) => keys.once({ ...call, content }, () => Promise.resolve(answer));
    expect((await once(call.content)).isReplay).toBe(false);
    const former = createHmac('sha256', key).update(call.content).digest();
    const now = await test.database.query<{ fingerprint: Buffer }>(
      `UPDATE idempotency_keys k SET fingerprint = $1 FROM idempotency_keys before
       WHERE k.key = 'k-former' AND before.key = k.key RETURNING before.fingerprint`,
      [former],
    );
    expect(now[0]?.fingerprint.equals(former)).toBe(false);
    expect(await once(call.content)).toEqual({ answer, isReplay: true });
    await expect(once('POST /v1/jobs {"name":"x"}')).rejects.toMatchObject({ code: 'idempotency-key-reused' });
  });

  it('means nothing on a call that changes nothing', async () => {
    await api.request('GET', '/v1/jobs', { headers: { 'idempotency-key': 'k-get' } });
    expect(await test.database.query(`SELECT 1 FROM idempotency_keys WHERE key = 'k-get'`)).toEqual([]);
  });

  it('answers 409 after ten seconds while another process is still at it', async () => {
    let answered: Promise<{ status: number; body: unknown }> | undefined;
    await test.database.transaction(async (transaction) => {
      await transaction.query(`INSERT INTO idempotency_keys (caller, key, fingerprint) VALUES ('admin', 'k-busy', '')`);
      answered = send('POST', '/v1/jobs', 'k-busy', { name: 'busy' });
      expect(await answered).toMatchObject({ status: 409, body: { type: '/problems/request-in-progress' } });
    });
    expect((await api.request('GET', '/v1/jobs/busy')).status).toBe(404);
  }, 30_000);
});

describe('a call with an Idempotency-Key on a job that is held', () => {
  it('answers 503 after ten seconds, and works when it is repeated', async () => {
    const test = await createTestDatabase();
    const api = await startApi({ databaseUrl: test.url, env: { ROLE: 'api' } });
    try {
      const send = () => api.request('POST', '/v1/jobs/held/stop', { headers: { 'idempotency-key': 'k-held' } });
      await api.request('POST', '/v1/jobs', { body: { name: 'held' } });
      await test.database.transaction(async (transaction) => {
        await transaction.query(`SELECT 1 FROM jobs WHERE name = 'held' FOR UPDATE`);
        const refused = await send();
        expect(refused).toMatchObject({ status: 503, body: { type: '/problems/unavailable' } });
        expect(refused.headers.get('retry-after')).toBe('1');
      });
      expect((await send()).status).toBe(202);
    } finally {
      await api.close();
      await test.close();
    }
  }, 30_000);
});

describe('calls with keys to two processes', () => {
  let stack: Stack;
  afterEach(() => stack.stop(), 60_000);

  it('make one job and one deployment when 50 identical ones come at once, and all get the same answer', async () => {
    stack = await startStack({ runtime: createSimulatedRuntime(), replicas: 2 });
    const fifty = async (path: string, body: object) => {
      const key = randomUUID();
      return await Promise.all(
        Array.from({ length: 50 }, async (_, n) => {
          const response = await fetch(`${stack.urls[n % 2]}${path}`, {
            method: 'POST',
            headers: { 'content-type': 'application/json', 'idempotency-key': key },
            body: JSON.stringify(body),
          });
          const isReplay = response.headers.has('idempotency-replayed');
          const answer = [response.status, response.headers.get('location'), await response.text()];
          return { answer: JSON.stringify(answer), isReplay };
        }),
      );
    };
    const check = (answers: Awaited<ReturnType<typeof fifty>>, status: number, location: string) => {
      expect(new Set(answers.map(({ answer }) => answer)).size).toBe(1);
      expect(JSON.parse(answers[0]!.answer)).toMatchObject([status, location, expect.any(String)]);
      expect(answers.filter(({ isReplay }) => !isReplay)).toHaveLength(1);
    };

    check(await fifty('/v1/jobs', { name: 'web', image: 'app:1' }), 201, '/v1/jobs/web');
    check(await fifty('/v1/jobs/web/deployments', { image: 'app:2' }), 202, '/v1/jobs/web/deployments/2');

    const jobs = await stack.call<{ items: unknown[] }>('GET', '/v1/jobs');
    const deployments = await stack.call<{ items: { number: number }[] }>('GET', '/v1/jobs/web/deployments');
    expect(jobs.items).toHaveLength(1);
    expect(deployments.items.map(({ number }) => number)).toEqual([2, 1]);
  }, 120_000);

  it('make one deployment a key, though a process is killed in the middle and every client repeats', async () => {
    stack = await startStack({ runtime: createSimulatedRuntime(), replicas: 2 });
    await stack.call('POST', '/v1/jobs', { name: 'web' });
    let answered = 0;
    let killed: Promise<void> | undefined;
    const deploy = async (n: number): Promise<number> => {
      const key = randomUUID();
      for (let attempt = 0; ; attempt += 1) {
        const response = await fetch(`${stack.urls[(n + attempt) % 2]}/v1/jobs/web/deployments`, {
          method: 'POST',
          headers: { 'content-type': 'application/json', 'idempotency-key': key },
          body: JSON.stringify({ image: `app:${n}` }),
        }).catch(() => undefined);
        // Half of an answer is none.
        const text = await response?.text().catch(() => undefined);
        if (response?.status !== 202 || text === undefined) continue;
        answered += 1;
        if (answered === 10) killed = stack.kill(0);
        return (JSON.parse(text) as { number: number }).number;
      }
    };
    const numbers = await Promise.all(Array.from({ length: 60 }, (_, n) => deploy(n)));
    await killed;
    expect(numbers.toSorted((a, b) => a - b)).toEqual(Array.from({ length: 60 }, (_, n) => n + 1));
    const { items } = await stack.call<{ items: unknown[] }>('GET', '/v1/jobs/web/deployments?limit=200');
    expect(items).toHaveLength(60);
  }, 120_000);
});
