import { type ChildProcess, spawn, spawnSync, type SpawnSyncReturns } from 'node:child_process';
import { once } from 'node:events';
import {
  copyFileSync,
  existsSync,
  globSync,
  mkdtempSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { linkTools, whyNoBusybox } from '../support/busybox.ts';
import { writeShims } from '../support/shims.ts';
import { describeWhen } from '../support/when.ts';
import { signal } from '../../local/processes.ts';
import { until } from '../../local/until.ts';

// Our scripts and checks as they run in the official images of nginx and Postgres, which have the shell and the tools of
// busybox and the name lookup of musl. What else is in these images is a stand-in on the PATH, and nothing besides.
const DEPLOY = join(import.meta.dirname, '../../deploy');
const COMPOSE = readFileSync(join(DEPLOY, '../docker-compose.yml'), 'utf8');
const [ONE, TWO, THREE] = ['10.0.0.2', '10.0.0.3', '10.0.0.4'];
/** So many looks show that it does nothing. */
const SOME_LOOKS = 6;

const work = mkdtempSync(join(tmpdir(), 'official-images-'));
const inWork = (name: string): string => join(work, name);
const linesOf = (name: string): string[] =>
  existsSync(inWork(name)) ? readFileSync(inWork(name), 'utf8').split('\n').filter(Boolean) : [];
/** Shell that says a command line in a file. */
const say = (what: string, file = 'calls'): string => `printf '%s\\n' "${what}" >>'${inWork(file)}'`;

afterAll(() => rmSync(work, { recursive: true, force: true }));

describe('nginx’s start', () => {
  followsTheScheduler('with the tools of this machine', () => process.env['PATH'] ?? '');
});

describeWhen(whyNoBusybox() === undefined, String(whyNoBusybox()), 'with the tools of Alpine', () => {
  const tools = inWork('busybox');
  beforeAll(() => linkTools(tools));

  it.each(globSync(['**/*.sh'], { cwd: DEPLOY }).sort())('the shell can read deploy/%s', (file) => {
    const read = spawnSync(join(tools, 'sh'), ['-n', join(DEPLOY, file)], { encoding: 'utf8' });
    expect(read).toMatchObject({ status: 0, stderr: '' });
  });

  describe('nginx’s start', () => {
    followsTheScheduler('with nothing else', () => tools);
  });

  it('nginx’s health check says whether the API answers with success', async () => {
    const [, text = ''] = /test: \[CMD, (wget.*)\]/.exec(COMPOSE) ?? [];
    let status = 200;
    const server = createServer((_request, response) => response.writeHead(status).end('x')).listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    const words = text.replaceAll("'", '').replace('127.0.0.1', `127.0.0.1:${port}`).split(/, */);
    const check = async (): Promise<unknown> => {
      const child = spawn(words[0] ?? '', words.slice(1), { env: { PATH: tools }, stdio: 'ignore' });
      const [code] = (await once(child, 'exit')) as [number | null];
      return code;
    };
    expect(words.at(-1)).toBe(`http://127.0.0.1:${port}/health/live`);
    expect(await check()).toBe(0);
    status = 503;
    expect(await check()).toBe(1);
    server.close();
  });

  describe('Postgres', () => {
    const shims = inWork('postgres-shims');
    const settings = { POSTGRES_USER: 'scheduler', POSTGRES_PASSWORD: 'se cret', POSTGRES_DB: 'scheduler' };

    beforeAll(() => {
      const record = say('$(basename "$0") ${PGHOST:+PGHOST=$PGHOST }${PGUSER:+PGUSER=$PGUSER }$*');
      writeShims(shims, {
        psql: `${record}; [ "$*" = "\${*#* -c}" ] && [ ! -t 0 ] && cat >>'${inWork('sql')}'
          case $* in *rolname*) echo first ;; esac; exit 0`,
        pg_isready: `${record}; [ -e '${inWork('ready')}' ] || { touch '${inWork('ready')}'; exit 1; }`,
        pg_ctl: record,
        pg_dump: `${record}; echo dump`,
        pg_restore: `${record}; cat >>'${inWork('restored')}'`,
        createdb: record,
        dropdb: record,
        'docker-entrypoint.sh': say('docker-entrypoint.sh as $POSTGRES_USER: $*'),
        // The tests may run as anybody, and this machine may have no such user.
        chown: record,
        id: 'echo 70',
      });
    });
    afterEach(() => {
      for (const file of ['calls', 'sql', 'restored', 'ready', 'data'])
        rmSync(inWork(file), { recursive: true, force: true });
    });

    it('begins a new database as the superuser', () => {
      const started = run('postgres/entrypoint.sh', ['postgres', '-c', 'max_connections=200']);
      expect(started).toMatchObject({ status: 0, stderr: '' });
      expect(linesOf('calls')).toEqual(['docker-entrypoint.sh as superuser: postgres -c max_connections=200']);
    });

    it('names a setting that is missing', () => {
      const started = run('postgres/entrypoint.sh', ['postgres'], { POSTGRES_PASSWORD: '' });
      expect(started).toMatchObject({ status: 78, stderr: expect.stringContaining('POSTGRES_PASSWORD is missing') });
    });

    it('separates the roles of an old database, and sets the password', async () => {
      spawnSync('mkdir', ['-p', inWork('data')]);
      writeFileSync(inWork('data/PG_VERSION'), '18');
      expect(run('postgres/entrypoint.sh', ['postgres'])).toMatchObject({ status: 0 });
      await until(() => linesOf('sql').some((line) => line.startsWith('ALTER ROLE :"user" PASSWORD')));
      expect(existsSync(inWork('data/roles-are-separated'))).toBe(true);
      const calls = linesOf('calls').map((line) => line.replaceAll(/\/\S*tmp\.\w+/g, 'SOCKET'));
      expect(calls).toEqual(
        expect.arrayContaining([
          'chown postgres SOCKET',
          `pg_ctl -D ${inWork('data')} -o -c listen_addresses='' -k SOCKET -w -t 3600 start`,
          'psql PGHOST=SOCKET -qXAt -U scheduler -d postgres -c SELECT rolname FROM pg_roles WHERE oid = 10',
          'psql PGHOST=SOCKET -qX -U separation -d scheduler -v ON_ERROR_STOP=1 --single-transaction',
          'docker-entrypoint.sh as superuser: postgres',
          'pg_isready -q -h /var/run/postgresql -U superuser -d postgres',
        ]),
      );
    });

    it('makes the API’s role in a new one', () => {
      spawnSync('mkdir', ['-p', inWork('data')]);
      expect(run('postgres/make-role.sh', [])).toMatchObject({ status: 0, stderr: '' });
      expect(linesOf('sql')).toContain('CREATE ROLE :"app" LOGIN PASSWORD :\'password\';');
      expect(existsSync(inWork('data/roles-are-separated'))).toBe(true);
    });

    it('is healthy when the API can log in', () => {
      const [, text = ''] = /CMD-SHELL,\s+'(PGPASSWORD.*)',/.exec(COMPOSE) ?? [];
      const checked = spawnSync('sh', ['-c', text.replaceAll('$$', '$')], { env: environment(), encoding: 'utf8' });
      expect(checked).toMatchObject({ status: 0, stderr: '' });
      expect(linesOf('calls')).toEqual([expect.stringMatching(/^psql -qX -h \S+ -U scheduler -d scheduler -c $/)]);
    });

    it('is backed up and restored', () => {
      spawnSync('mkdir', ['-p', inWork('data')]);
      writeShims(inWork('compose-shims'), {
        'docker-compose': `case $1 in
          exec) shift 3; PATH='${shims}:${tools}' exec "$@" ;;
          ps) echo container ;;
          *) ${say('compose $*')} ;;
        esac`,
      });
      const onHost = (script: string): SpawnSyncReturns<string> =>
        spawnSync('sh', [join(DEPLOY, script), inWork('backup')], {
          env: { ...environment(), PATH: `${inWork('compose-shims')}:${process.env['PATH']}` },
          encoding: 'utf8',
        });
      expect(onHost('backup.sh')).toMatchObject({ status: 0, stderr: '' });
      expect(onHost('restore.sh')).toMatchObject({ status: 0, stderr: '' });
      expect(linesOf('backup')).toEqual(['dump']);
      expect(linesOf('restored')).toEqual(['dump', 'dump']);
      const calls = linesOf('calls').map((line) => line.replace(/_before_\w+/, '_before'));
      expect(calls).toEqual([
        'pg_dump PGHOST=127.0.0.1 PGUSER=scheduler --format custom scheduler',
        'pg_restore PGHOST=127.0.0.1 PGUSER=scheduler --file /dev/null',
        // It waits.
        ...Array.from({ length: 2 }, () => 'pg_isready PGHOST=/var/run/postgresql PGUSER=superuser -q -h 127.0.0.1'),
        'dropdb PGHOST=/var/run/postgresql PGUSER=superuser --if-exists scheduler_restored',
        'createdb PGHOST=/var/run/postgresql PGUSER=superuser --owner scheduler scheduler_restored',
        'pg_restore PGHOST=/var/run/postgresql PGUSER=superuser --exit-on-error --single-transaction --no-owner --role scheduler --dbname scheduler_restored',
        'compose stop scheduler',
        'psql PGHOST=/var/run/postgresql PGUSER=superuser -qd postgres -v ON_ERROR_STOP=1 -v db=scheduler -v old=scheduler_before -v new=scheduler_restored',
        'compose start scheduler',
      ]);
    });

    function run(script: string, args: string[], more: Record<string, string> = {}): SpawnSyncReturns<string> {
      return spawnSync('sh', [join(DEPLOY, script), ...args], { env: { ...environment(), ...more }, encoding: 'utf8' });
    }

    function environment(): Record<string, string> {
      return { PATH: `${shims}:${tools}`, PGDATA: inWork('data'), TMPDIR: work, APP_USER: 'scheduler', ...settings };
    }
  });
});

/** @param path tools that the script finds beside the stand-ins */
function followsTheScheduler(what: string, path: () => string): void {
  describe(what, () => {
    let running: ChildProcess | undefined;

    afterEach(() => {
      // The loop that follows the scheduler, too: in the container it ends with nginx.
      if (running?.pid) signal(-running.pid, 'SIGKILL');
      running = undefined;
      for (const file of ['looks', 'sleeps', 'calls', 'callers', 'names', 'doors', 'printed', 'addresses', 'proxies'])
        rmSync(inWork(file), { force: true });
    });

    it.each(['musl', 'glibc'])(
      'reads the configuration again when a scheduler comes or goes, with %s',
      async (libc) => {
        setAddresses();
        start(libc, path());
        await looks();
        expect(linesOf('calls')).toEqual([]);

        setAddresses(ONE, TWO);
        await until(() => linesOf('calls').length > 0);
        expect(linesOf('calls')).toEqual(['started nginx -g daemon off;']);
        await looks();
        expect(linesOf('calls')).toHaveLength(1);

        setAddresses(ONE, TWO, THREE);
        await reloads(1);
        setAddresses(THREE);
        await reloads(2);
        // Nobody answers for it: it is being replaced.
        setAddresses();
        await looks();
        setAddresses(THREE);
        await reloads(2);
        expect(linesOf('printed')).toEqual([
          `the scheduler moved to ${ONE} ${TWO} ${THREE} `,
          `the scheduler moved to ${THREE} `,
        ]);
      },
    );

    it('names the hosts of jobs and those of the API, with what there is of them', async () => {
      setAddresses(ONE);
      for (const [settings, names] of [
        [{}, ['', '', '']],
        [{ JOBS_URL: 'https://jobs.test:8443' }, ['jobs.test', '', '']],
        [{ JOBS_URL: 'https://jobs.test:8443', JOBS_PRIVATE_URL: 'http://jobs.test' }, ['jobs.test', '', '']],
        [
          { JOBS_URL: 'https://jobs.test', JOBS_PRIVATE_URL: 'http://jobs.internal:81', JOBS_HOSTS: 'own.test' },
          ['jobs.test', ' *.jobs.internal .own.test', ''],
        ],
        [
          {
            JOBS_URL: 'http://jobs.test',
            JOBS_HOSTS: 'own.test, shop.example',
            PUBLIC_URL: 'https://api.own.test/',
            AGENT_URL: 'https://agents.own.test:8443',
          },
          ['jobs.test', ' .own.test .shop.example', ' api.own.test agents.own.test'],
        ],
        [
          { JOBS_URL: 'http://jobs.test', JOBS_HOSTS: 'shop.own.test,own.test', PUBLIC_URL: 'https://own.test' },
          ['jobs.test', ' .shop.own.test *.own.test', ' own.test'],
        ],
        [{ PUBLIC_URL: 'http://[::1]:3000', AGENT_URL: 'http://10.0.0.1/a' }, ['', '', ' 10.0.0.1']],
      ] as const) {
        rmSync(inWork('calls'), { force: true });
        start('musl', path(), settings);
        await until(() => linesOf('calls').length > 0);
        expect(linesOf('names').at(-1)).toBe(names.map((name) => `<${name}>`).join(''));
        if (running?.pid) signal(-running.pid, 'SIGKILL');
      }
    });

    it.each([
      ['127.0.0.11', '127.0.0.11'],
      ['fd00:ec2::253', '[fd00:ec2::253]'],
    ])(
      'serves jobs alone where the API is elsewhere, and need not be there yet: asks %s for it',
      async (server, written) => {
        setAddresses();
        writeFileSync(inWork('resolv.conf'), `search test\nnameserver ${server}\nnameserver 10.0.0.2\n`);
        start('musl', path(), { API_LISTENER: 'off', RESOLV_CONF: inWork('resolv.conf') });
        await until(() => linesOf('calls').length > 0);
        expect(linesOf('doors')).toEqual([`<127.0.0.1:8081><81>< listen 81;><><${written}>`]);
        expect(linesOf('looks')).toEqual([]);
      },
    );

    it.each([
      [{}, '80: default 0; 255.255.255.255 1; set_real_ip_from 255.255.255.255;', '<scheduler:3000><none><><><>'],
      [
        { TRUSTED_PROXY: '10.0.0.0/16,100.64.0.0/16', BALANCER_PORT: '81' },
        '81: default 0; 10.0.0.0/16 1; 100.64.0.0/16 1; set_real_ip_from 10.0.0.0/16; set_real_ip_from 100.64.0.0/16;',
        '<scheduler:3000><none>< listen 81;><listen 81 default_server backlog=4096;><>',
      ],
    ])('says whom it believes who its callers are, and where, of %j', async (settings, proxies, doors) => {
      setAddresses(ONE);
      start('musl', path(), settings);
      await until(() => linesOf('calls').length > 0);
      expect(linesOf('proxies')).toEqual([proxies]);
      expect(linesOf('doors')).toEqual([doors]);
    });

    it('waits for the agents’ keys where agents have a listener', async () => {
      setAddresses(ONE);
      start('musl', path(), { AGENT_LISTENER: 'on' });
      await until(() => linesOf('sleeps').length >= SOME_LOOKS);
      expect([linesOf('looks').length, linesOf('calls')]).toEqual([1, []]);
    });

    it.each([
      [{}, 'default 1; and default 1;'],
      [{ ALLOWED_CIDRS: '203.0.113.7/32' }, 'default 0; 203.0.113.7/32 1; and default 1;'],
      [
        { ALLOWED_CIDRS: '10.0.0.0/8, 203.0.113.7,2001:db8::/32', INGRESS_CIDRS: '0.0.0.0/0' },
        'default 0; 10.0.0.0/8 1; 203.0.113.7 1; 2001:db8::/32 1; and default 0; 0.0.0.0/1 1; 128.0.0.0/1 1;',
      ],
      [{ INGRESS_CIDRS: '::/0' }, 'default 1; and default 0; ::/1 1; 8000::/1 1;'],
      // Nobody, rather than everybody.
      [{ INGRESS_CIDRS: ',' }, 'default 1; and default 0;'],
    ])('says who may call the API and who jobs, of %j', async (lists, said) => {
      setAddresses(ONE);
      start('musl', path(), lists);
      await until(() => linesOf('callers').length > 0);
      expect(linesOf('callers')).toEqual([said]);
    });

    it.each(['example.com', '10.0.0.0/8; }', '*'])('does not start with %s among them', async (network) => {
      setAddresses(ONE);
      const nginx = start('musl', path(), { ALLOWED_CIDRS: `203.0.113.7/32,${network}` });
      const [code] = (await once(nginx, 'exit')) as [number | null];
      running = undefined;
      expect({ code, printed: linesOf('printed'), calls: linesOf('calls') }).toEqual({
        ...{ code: 78, calls: [] },
        printed: ['ALLOWED_CIDRS: must be networks like 203.0.113.7/32, with commas between them'],
      });
    });

    async function reloads(count: number): Promise<void> {
      await until(() => linesOf('calls').length > count);
      await looks();
      const reload = 'nginx -c /etc/nginx/conf.d/nginx.conf -s reload';
      expect(linesOf('calls').slice(1)).toEqual(Array.from({ length: count }, () => reload));
    }

    async function looks(): Promise<void> {
      const before = linesOf('looks').length;
      await until(() => linesOf('looks').length >= before + SOME_LOOKS);
    }

    function start(libc: string, tools: string, settings: Record<string, string> = {}): ChildProcess {
      const shims = inWork('nginx-shims');
      writeShims(shims, {
        getent: lookUp(libc),
        nginx: say('nginx $*'),
        entrypoint: `${say('$API_CALLERS and $JOB_CALLERS', 'callers')}; ${say('<$JOBS_DOMAIN><$JOBS_HOST_NAMES><$API_HOST_NAMES>', 'names')}; ${say('<$LOOKUPS><$TLS_PORT><$SECOND_LISTENER><$BALANCER_LISTENER><$RESOLVER>', 'doors')}; ${say('$BALANCER_PORT: $PROXY_NETWORKS$TRUSTED_PROXIES', 'proxies')}; ${say('started $*')}`,
        sleep: `${say('$*', 'sleeps')}; read -rt 0.05 <> <(:) || true`,
      });
      const script = readFileSync(join(DEPLOY, 'nginx/start.sh'), 'utf8');
      expect(script).toContain('exec /docker-entrypoint.sh "$@"');
      writeFileSync(inWork('start.sh'), script.replace('/docker-entrypoint.sh', join(shims, 'entrypoint')));
      copyFileSync(join(DEPLOY, 'nginx/networks.sh'), inWork('networks.sh'));
      running = spawn('sh', [inWork('start.sh'), 'nginx', '-g', 'daemon off;'], {
        env: {
          ...{ PATH: `${shims}:${tools}`, SCHEDULER_HOST: 'scheduler' },
          ...{ API_LISTENER: 'on', AGENT_LISTENER: 'off', LOOKUP_LISTENER: 'off' },
          ...settings,
        },
        stdio: ['ignore', 'ignore', openSync(inWork('printed'), 'w')],
        detached: true,
      });
      return running;
    }

    /** As a name server: the order is another one at each look. */
    function lookUp(libc: string): string {
      const kinds = libc === 'musl' ? 'STREAM DGRAM' : 'STREAM DGRAM RAW';
      return `${say('$*', 'looks')}
        mapfile -t all <'${inWork('addresses')}'
        if [ \${#all[@]} = 0 ]; then exit 2; fi
        turn=$((RANDOM % \${#all[@]}))
        all=("\${all[@]:turn}" "\${all[@]:0:turn}")
        case $1 in
          hosts) for one in "\${all[@]}"; do
            printf '%-16s  %s\\n' "$one" "$2"
            if [ ${libc} = musl ]; then exit; fi
          done ;;
          ahosts | ahostsv4) for one in "\${all[@]}"; do
            for kind in ${kinds}; do printf '%-15s %-6s %s\\n' "$one" "$kind" "$2"; done
          done ;;
          *) exit 1 ;;
        esac`;
    }

    /** At once: a look must not find half of them. */
    function setAddresses(...addresses: (string | undefined)[]): void {
      writeFileSync(inWork('addresses.new'), addresses.map((address) => `${address}\n`).join(''));
      renameSync(inWork('addresses.new'), inWork('addresses'));
    }
  });
}
