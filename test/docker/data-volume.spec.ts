// On AWS the API's instance creates its containers before it has the data volume, which its predecessor still serves from.
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from '@jest/globals';
import { type Compose, docker, startCompose, whyNoCompose, writeSettings } from '../support/compose.ts';
import { describeWhen } from '../support/when.ts';
import { until } from '../../local/until.ts';

const MINUTES = 60_000;
const reason = whyNoCompose();

describeWhen(reason === undefined, reason ?? '', 'Postgres on a folder of the data volume', () => {
  let compose: Compose;
  let folder: string;
  beforeAll(async () => {
    compose = await startCompose(['docker-compose.yml', 'docker-compose.stack.yml']);
    folder = join(compose.directory, 'data/postgres');
    // As terraform/user-data/user-data.sh writes it.
    const volume = { driver: 'local', driver_opts: { type: 'none', o: 'bind', device: folder } };
    await writeFile(
      join(compose.directory, 'docker-compose.stack.yml'),
      JSON.stringify({ volumes: { 'postgres-data': volume } }),
    );
    await writeSettings(compose, { POSTGRES_USER: 'scheduler', POSTGRES_PASSWORD: 'password' });
  }, MINUTES);
  afterAll(async () => {
    // Postgres's files belong to its own user: whoever may not remove them here lets a container do it.
    await compose.must('stop');
    await inNode(`${compose.directory}/data:/data`, 'rm', '-rf', '/data/postgres');
    await compose.dispose();
    await rm(compose.directory, { recursive: true, force: true });
  }, 2 * MINUTES);

  it(
    'is created before that is mounted, refuses to start without it, and keeps its data there',
    async () => {
      await compose.must('up', '--no-start', '--no-deps', 'postgres');
      const early = await compose.run('start', 'postgres');
      expect(early.output).toMatch(/no such file or directory/);
      const container = await compose.container('postgres');
      expect(await docker('inspect', '--format', '{{.State.Running}}', container)).toBe('false');

      await mkdir(folder, { recursive: true });
      await compose.must('start', 'postgres');
      await until(async () => {
        const health = await docker('inspect', '--format', '{{.State.Health.Status}}', container);
        return health === 'healthy';
      }, MINUTES);
      const version = await docker('exec', container, 'cat', '/var/lib/postgresql/18/docker/PG_VERSION');
      expect(version).toBe('18');
      expect(await inNode(`${folder}:/d:ro`, 'cat', '/d/18/docker/PG_VERSION')).toBe('18');
    },
    3 * MINUTES,
  );

  async function inNode(volume: string, ...command: string[]): Promise<string> {
    return await docker('run', '--rm', '-v', volume, 'node:24-bookworm-slim', ...command);
  }
});
