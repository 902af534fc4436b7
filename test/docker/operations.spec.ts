// What docs/operations.md tells an operator to do, done: on the stack, with a local cloud whose instances live on meanwhile.
import { execFile, spawnSync } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { get } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import {
  type Compose,
  docker,
  imageWithPgDump,
  startCompose,
  whyNoCompose,
  writeSettings,
} from '../support/compose.ts';
import { describeWhen } from '../support/when.ts';
import { until } from '../../local/until.ts';

const MINUTES = 60_000;
const PORT = 8080;
const DEFINITION = {
  ports: [{ container: PORT, host: PORT }],
  health: { path: '/', port: PORT, intervalSeconds: 1 },
  rollout: { stableSeconds: 1, drainSeconds: 1 },
};

type Job = { status: string; activeDeployment: number | null; instance: { id: string; privateIp: string } | null };
type Fleet = { instances: Record<string, number>; owner: { holder: string } | null };
type Instance = { id: string; state: string; quarantined: boolean; job: string | null };

const whyNot = whyNoCompose();
const postgresImage = whyNot === undefined ? imageWithPgDump() : undefined;
const reason = whyNot ?? (postgresImage === undefined ? 'no image of Postgres 18 has pg_dump' : undefined);

describeWhen(reason === undefined, reason ?? '', 'operating the stack', () => {
  let compose: Compose;
  let url: string;
  const settings = {
    POSTGRES_IMAGE: postgresImage ?? '',
    POSTGRES_USER: 'scheduler',
    POSTGRES_PASSWORD: `pass'word/with:marks`,
    ADMIN_TOKEN: 'first-0123456789abcdef0123456789',
    ENCRYPTION_KEY: Buffer.alloc(32, 7).toString('base64'),
  };
  beforeAll(async () => {
    compose = await startCompose(['docker-compose.yml', 'test/docker/cloud-apart.yml']);
    url = `http://127.0.0.1:${compose.port}`;
    await writeSettings(compose, settings);
    await compose.must('build', 'scheduler', 'local-cloud');
    await compose.must('up', '-d');
    await untilReady();
  }, 15 * MINUTES);
  afterAll(() => compose.dispose(), 2 * MINUTES);

  const call = async (method: string, path: string, body?: object, token = settings.ADMIN_TOKEN): Promise<Response> =>
    await fetch(`${url}${path}`, {
      method,
      headers: { authorization: `Bearer ${token}`, ...(body && { 'content-type': 'application/json' }) },
      ...(body && { body: JSON.stringify(body) }),
      signal: AbortSignal.timeout(90_000),
    });
  const read = async <T>(path: string): Promise<T> => (await (await call('GET', path)).json()) as T;
  const isReady = async (): Promise<boolean> =>
    await fetch(`${url}/health/ready`, { signal: AbortSignal.timeout(10_000) }).then(
      ({ status }) => status === 200,
      () => false,
    );
  const untilReady = (): Promise<void> => until(isReady, 2 * MINUTES);
  const jobOf = (name: string): Promise<Job> => read<Job>(`/v1/jobs/${name}`);
  const settle = async (name: string, number: number): Promise<Required<Job>['instance']> => {
    const path = `/v1/jobs/${name}/deployments/${number}?wait=60&until=settled`;
    expect(await read(path)).toMatchObject({ status: 'active' });
    return (await jobOf(name)).instance;
  };
  const create = async (name: string) => {
    expect((await call('POST', '/v1/jobs', { name, image: `${name}:1`, ...DEFINITION })).status).toBe(201);
    return await settle(name, 1);
  };
  const instanceOf = async (id: string | undefined): Promise<Instance | undefined> =>
    (await read<{ items: Instance[] }>('/v1/instances?limit=100')).items.find((instance) => instance.id === id);
  /** Another one once the container was started again. */
  const containerAt = async (ip: string | undefined): Promise<string> => {
    const answer = await compose.must('exec', '-T', 'local-cloud', 'curl', '-sf', `http://${ip ?? ''}:${PORT}/`);
    return (JSON.parse(answer) as { hostname: string }).hostname;
  };
  const terminated = async (): Promise<string> => {
    const ledger = await compose.must('exec', '-T', 'local-cloud', 'cat', '/app/.local/cloud/ledger.jsonl');
    return ledger
      .split('\n')
      .filter((line) => line.includes('"TerminateInstances"'))
      .join('\n');
  };
  /** Addresses nginx goes to, as it last said. */
  const upstream = async (): Promise<string[]> => {
    const moves = (await compose.must('logs', '--no-color', 'nginx')).match(/(?<=the scheduler moved to ).*/g);
    return (moves?.at(-1) ?? '').split(' ').filter(Boolean);
  };
  const query = async (sql: string): Promise<string> =>
    (
      await compose.must('exec', '-T', 'postgres', 'psql', '-qXAt', '-U', 'superuser', '-d', 'scheduler', '-c', sql)
    ).trim();
  const databases = async (): Promise<string[]> =>
    (await query('SELECT datname FROM pg_database WHERE NOT datistemplate ORDER BY 1')).split('\n');
  /** Something that is encrypted with the key of now. */
  const seal = async (): Promise<void> => {
    const registry = { username: 'u', password: 'p' };
    expect((await call('PUT', '/v1/registries/registry.example.com', registry)).ok).toBe(true);
  };
  const replicas = async (): Promise<string[]> =>
    (await compose.must('ps', '-q', 'scheduler')).split('\n').filter(Boolean);

  it(
    'restores a backup: who was known goes on, who came later is quarantined and keeps running',
    async () => {
      const kept = await create('kept');
      const first = await create('moved');
      await seal();
      expect(await compose.script('deploy/backup.sh', 'nightly.dump')).toMatch(/nightly\.dump, \d{4,} bytes/);
      const rehearsed = await compose.script('deploy/restore.sh', '--rehearse', 'nightly.dump');
      expect(rehearsed).toMatch(
        /it can be restored: 2 jobs, 2 deployments, \d{2} events; of \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC, 00:0\d:\d\d old\n/,
      );
      expect(rehearsed).toMatch(
        /this release can serve it: 0 migrations are missing, and [1-9]\d* encrypted values open/,
      );
      expect(rehearsed).toMatch(/nothing was changed; it took \d+ s\n/);
      expect(await databases()).toEqual(['postgres', 'scheduler']);

      const late = await create('late');
      expect((await call('POST', '/v1/jobs/moved/deployments', { image: 'moved:2' })).status).toBe(202);
      const second = await settle('moved', 2);
      await until(async () => (await instanceOf(first?.id))?.state === 'terminated', MINUTES);
      const containers = [await containerAt(kept?.privateIp), await containerAt(late?.privateIp)];

      await compose.must('stop', 'scheduler');
      await compose.must('rm', '-sf', 'postgres');
      await docker('volume', 'rm', `${compose.project}_postgres-data`);
      await compose.must('up', '-d', 'postgres');
      const said = await compose.script('deploy/restore.sh', 'nightly.dump');
      expect(said).toContain('done. The database that was in use is kept');
      await untilReady();

      const isHealed = async () => {
        const { status, instance } = await jobOf('moved');
        return status === 'running' && instance !== null && ![first?.id, second?.id].includes(instance.id);
      };
      await until(isHealed, 2 * MINUTES);
      expect(await jobOf('moved')).toMatchObject({ activeDeployment: 1 });
      expect(await jobOf('kept')).toMatchObject({ status: 'running', instance: { id: kept?.id } });
      expect(await read('/v1/jobs/kept/deployments/1')).toMatchObject({ status: 'active', attempt: 1 });
      expect((await call('GET', '/v1/jobs/late')).status).toBe(404);
      for (const lost of [late, second]) {
        expect(await instanceOf(lost?.id)).toMatchObject({ quarantined: true, state: 'running', job: null });
      }
      expect(await read<Fleet>('/v1/fleet')).toMatchObject({ instances: { quarantined: 2, orphaned: 0 } });
      expect(await compose.must('logs', '--no-color', 'scheduler')).toMatch(
        /"unknown instances quarantined.*"alarm":true/,
      );

      // A deployment afterwards ends its predecessor's instance, and nobody else's.
      expect((await call('POST', '/v1/jobs/kept/deployments', { image: 'kept:2' })).status).toBe(202);
      expect([await containerAt(kept?.privateIp), await containerAt(late?.privateIp)]).toEqual(containers);
      await settle('kept', 2);
      await until(async () => (await terminated()).includes(kept?.id ?? '?'), MINUTES);
      expect(await terminated()).not.toContain(late?.id);
      expect(await terminated()).not.toContain(second?.id);
      expect(await containerAt(late?.privateIp)).toBe(containers[1]);
    },
    8 * MINUTES,
  );

  it(
    'takes the rights from the API in a database of an earlier release, where it was the superuser, and keeps what is in it',
    async () => {
      await compose.script('deploy/backup.sh', 'before.dump');
      const jobs = await read('/v1/jobs');
      await compose.must('stop', 'scheduler');
      await compose.must('rm', '-sf', 'postgres');
      const volume = `${compose.project}_postgres-data`;
      await docker('volume', 'rm', volume);
      await makeDatabaseOfBefore(volume, 'before.dump');

      // Where its data are those of before, Postgres is killed in the midst, and has to do it once more.
      await compose.must('up', '-d', 'postgres');
      await docker('kill', await compose.container('postgres'));
      await compose.must('up', '-d');
      await untilReady();
      expect(await read('/v1/jobs')).toEqual(jobs);
      expect(await query("SELECT rolname, rolsuper FROM pg_roles WHERE rolname !~ '^pg_' ORDER BY 1")).toBe(
        'scheduler|f\nsuperuser|t',
      );
      const left = `SELECT count(*) FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
        WHERE nspname IN ('scheduler-jobs', 'scheduler_queue') AND pg_get_userbyid(relowner) <> 'scheduler'`;
      expect(await query(left)).toBe('0');
      await create('later');
    },
    5 * MINUTES,
  );

  /** As the image alone makes it: POSTGRES_USER is the superuser, and all is its own. */
  async function makeDatabaseOfBefore(volume: string, backup: string): Promise<void> {
    const { POSTGRES_IMAGE, POSTGRES_USER, POSTGRES_PASSWORD } = settings;
    const variables = { POSTGRES_USER, POSTGRES_PASSWORD, POSTGRES_DB: 'scheduler' };
    const container = await docker(
      'run',
      '-d',
      ...Object.entries(variables).flatMap(([name, value]) => ['-e', `${name}=${value}`]),
      ...['-v', `${volume}:/var/lib/postgresql`, '-v', `${compose.directory}:/backup:ro`, POSTGRES_IMAGE],
    );
    const logIn = 'until PGPASSWORD="$POSTGRES_PASSWORD" psql -qX -h "$(hostname)" -U "$POSTGRES_USER" -d "$POSTGRES_DB" -c "" 2>/dev/null; do sleep 0.2; done'; // prettier-ignore
    const restore = `pg_restore -h /var/run/postgresql -U "$POSTGRES_USER" --exit-on-error --no-owner -d "$POSTGRES_DB" /backup/${backup}`;
    try {
      await docker('exec', container, 'timeout', '60', 'sh', '-c', `${logIn}; ${restore}`);
      await docker('stop', '-t', '60', container);
    } finally {
      await docker('rm', '-f', container);
    }
  }

  it(
    'changes nothing when a backup cannot be restored',
    async () => {
      await compose.script('deploy/backup.sh', 'whole.dump');
      const whole = await readFile(join(compose.directory, 'whole.dump'));
      await writeFile(join(compose.directory, 'cut.dump'), whole.subarray(0, whole.length - 2_000));
      const startedAt = async () =>
        await docker('inspect', '--format', '{{.State.StartedAt}}', await compose.container('scheduler'));
      const before = await startedAt();
      const jobs = await read('/v1/jobs');
      await expect(compose.script('deploy/restore.sh', 'cut.dump')).rejects.toThrow(/pg_restore: error/);
      expect(await startedAt()).toBe(before);
      expect(await read('/v1/jobs')).toEqual(jobs);
    },
    3 * MINUTES,
  );

  it(
    'rehearses with a backup that is no use, says why, and leaves nothing of it',
    async () => {
      const rehearse = (file: string) => compose.script('deploy/restore.sh', '--rehearse', file);
      const before = await databases();
      await expect(rehearse('cut.dump')).rejects.toThrow(/pg_restore: error/);
      await writeSettings(compose, { ...settings, ENCRYPTION_KEY: Buffer.alloc(32, 8).toString('base64') });
      await expect(rehearse('whole.dump')).rejects.toThrow(
        /could not be opened[^]*this release cannot serve what is in it/,
      );
      await writeSettings(compose, settings);
      const migrations = '"scheduler-jobs".migrations';
      await query(`INSERT INTO ${migrations} (timestamp, name) VALUES (1900000000000, 'Later1900000000000')`);
      await compose.script('deploy/backup.sh', 'newer.dump');
      await query(`DELETE FROM ${migrations} WHERE timestamp = 1900000000000`);
      await expect(rehearse('newer.dump')).rejects.toThrow(/of a newer release, .* does not know Later1900000000000:/);
      expect(await databases()).toEqual(before);
    },
    3 * MINUTES,
  );

  it(
    'takes a new password, token and key from .env alone, and no container of a job notices',
    async () => {
      const events = () => read('/v1/events?job=kept&limit=50');
      const before = await jobOf('kept');
      const eventsBefore = await events();
      const container = await containerAt(before.instance?.privateIp);
      const { ADMIN_TOKEN, POSTGRES_PASSWORD } = settings;
      settings.ADMIN_TOKEN = 'second-0123456789abcdef0123456789';
      settings.POSTGRES_PASSWORD = `another'word%with"marks`;
      const ENCRYPTION_KEYS_OLD = settings.ENCRYPTION_KEY;
      settings.ENCRYPTION_KEY = Buffer.alloc(32, 9).toString('base64');
      await writeSettings(compose, { ...settings, ENCRYPTION_KEYS_OLD });
      await compose.must('up', '-d');
      await untilReady();

      expect((await call('GET', '/v1/jobs', undefined, ADMIN_TOKEN)).status).toBe(401);
      expect(await events()).toEqual(eventsBefore);
      expect(await jobOf('kept')).toEqual(before);
      expect(await containerAt(before.instance?.privateIp)).toBe(container);
      const logIn = (password: string) =>
        compose.run('exec', '-T', '-e', `PGPASSWORD=${password}`, 'postgres', 'sh', '-c', 'psql -h "$(hostname)" -U "$POSTGRES_USER" -d "$POSTGRES_DB" -c ""'); // prettier-ignore
      expect((await logIn(POSTGRES_PASSWORD)).output).toContain('password authentication failed');
      expect(await logIn(settings.POSTGRES_PASSWORD)).toMatchObject({ code: 0 });

      const other = encryptAnew(ENCRYPTION_KEYS_OLD);
      expect(other).toMatchObject({ status: 3, stderr: expect.stringContaining('runs with another ENCRYPTION_KEY') });
      const anew = encryptAnew(settings.ENCRYPTION_KEY);
      expect(anew.status).toBe(0);
      expect(anew.stdout).toMatch(/"column":"registries\.sealed","resealed":1,"left":0/);
      await writeSettings(compose, settings);
      expect(encryptAnew(settings.ENCRYPTION_KEY).status).toBe(0);
    },
    4 * MINUTES,
  );

  it(
    'runs two replicas; when the one with the owner stops, no request fails and the other takes over',
    async () => {
      await compose.must('up', '-d', '--scale', 'scheduler=2');
      await until(async () => (await upstream()).length === 2, MINUTES);
      const health = async () => await docker('inspect', '--format', '{{.State.Health.Status}}', ...(await replicas()));
      await until(async () => (await health()) === 'healthy\nhealthy', MINUTES);

      const ownerOf = async (): Promise<string> => (await read<Fleet>('/v1/fleet')).owner?.holder ?? '';
      let holder = '';
      await until(async () => (holder = await ownerOf()) !== '', MINUTES);
      const ids = await replicas();
      expect(ids).toHaveLength(2);
      const logs = await Promise.all(ids.map((id) => docker('logs', id)));
      const owner = ids[logs.findIndex((log) => log.includes(holder))] ?? '';

      const asking = keepAsking(`${url}/v1/jobs`, settings.ADMIN_TOKEN);
      await docker('stop', owner);
      await until(async () => ![holder, ''].includes(await ownerOf()), MINUTES);
      await until(async () => (await upstream()).length === 1, MINUTES);
      const { served, failures } = await asking.stop();
      expect(failures).toEqual([]);
      expect(served).toBeGreaterThan(20);
      await compose.must('up', '-d', '--scale', 'scheduler=1');
      await untilReady();
    },
    4 * MINUTES,
  );

  /** The command that `scheduler-deploy rotate-keys` has the instance run, run here. */
  function encryptAnew(key: string): { status: number; stdout: string; stderr: string } {
    const library = join(compose.directory, 'deploy/terraform');
    const script = `. '${library}/instance.sh'; . '${library}/rotate.sh'; APP='${compose.directory}' COMPOSE=$OURS
      step() { :; }; choose_instance() { instance=i-0; }; setting() { echo "$KEY"; }
      ask_instance() { ended=Success; printf %s "$1"; }; encrypt_anew`;
    const env = { ...compose.environment, OURS: compose.environment['COMPOSE'], KEY: key };
    const { stdout: command } = spawnSync('sh', ['-euc', script], { encoding: 'utf8', env });
    const { status, stdout, stderr } = spawnSync('sh', ['-c', command], { encoding: 'utf8', env, timeout: MINUTES });
    return { status: status ?? -1, stdout, stderr };
  }

  const hasChromium = spawnSync('chromium', ['--version'], { stdio: 'ignore' }).status === 0;
  describeWhen(hasChromium, 'there is no chromium', 'a browser', () => {
    it(
      'renders the documentation under a name that is not localhost, which alone is exempt from upgrades to https',
      async () => {
        const text = (await dumpDom(`http://scheduler.test:${compose.port}/docs`)).replace(/<[^>]*>/g, '');
        expect(text).toContain('POST/v1/jobs');
        expect(text).toContain('DELETE/v1/jobs/{name}');
        expect(text).toContain('GET/v1/fleet');
      },
      3 * MINUTES,
    );
  });
});

describe('the scripts of docs/operations.md', () => {
  it('are those that exist', async () => {
    const text = await readFile(join(import.meta.dirname, '../../docs/operations.md'), 'utf8');
    const named = [...new Set(text.match(/deploy\/[a-z-]+\.sh/g))].toSorted();
    expect(named).toEqual(expect.arrayContaining(['deploy/backup.sh', 'deploy/restore.sh']));
    for (const file of named) {
      expect(await readFile(join(import.meta.dirname, '../..', file), 'utf8')).toMatch(/^#!\/bin\/sh\n/);
    }
  });
});

/**
 * Twenty requests a second, within NGINX_RATE, each on a connection of its own: one that is kept may be closed by a reload
 * of nginx just when it is used again. `stop` tells how many got 200, and what the others got.
 */
function keepAsking(url: string, token: string): { stop(): Promise<{ served: number; failures: string[] }> } {
  const answers: Promise<string>[] = [];
  const timer = setInterval(() => {
    const headers = { authorization: `Bearer ${token}` };
    answers.push(
      new Promise((done) => {
        const request = get(url, { agent: false, headers, timeout: 30_000 }, (response) => {
          let text = '';
          response.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
          response.on('end', () => done(response.statusCode === 200 ? '' : `${response.statusCode ?? 0} ${text}`));
        });
        request.on('timeout', () => request.destroy()).on('error', ({ message }) => done(message));
      }),
    );
  }, 50);
  return {
    stop: async () => {
      clearInterval(timer);
      const failures = (await Promise.all(answers)).filter(Boolean);
      return { served: answers.length - failures.length, failures };
    },
  };
}

/** What stands on the page once its scripts have run. Names below .test lead to loopback. */
async function dumpDom(url: string): Promise<string> {
  const profile = await mkdtemp(join(tmpdir(), 'scheduler-api-chromium-'));
  const words =
    'headless no-sandbox disable-gpu disable-quic no-first-run disable-background-networking disable-component-update disable-sync dump-dom';
  const flags = [
    ...words.split(' ').map((word) => `--${word}`),
    '--virtual-time-budget=15000',
    '--host-resolver-rules=MAP *.test 127.0.0.1',
    `--user-data-dir=${profile}`,
  ];
  try {
    const limits = { timeout: 2 * MINUTES, maxBuffer: 64 * 1024 * 1024 };
    return (await promisify(execFile)('chromium', [...flags, url], limits)).stdout;
  } finally {
    await rm(profile, { recursive: true, force: true, maxRetries: 5, retryDelay: 200 });
  }
}
