import { createSecretKey } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import type { DockerOrderSpec } from '../../src/docker/order.ts';
import { OrderPolls } from '../../src/agent/order-polls.ts';
import { Shutdown } from '../../src/process/shutdown.ts';
import { OrderFiller } from '../../src/agent/order-filler.ts';
import type { Keys } from '../../src/secrets/sealed.ts';
import { pullRequest } from '../../src/docker/container-spec.ts';
import { Registries } from '../../src/registries/registries.ts';
import { SecretStore } from '../../src/secrets/secret-store.ts';
import { insertAgent, insertOrder } from '../support/agents.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';

const KEYS: Keys = [createSecretKey(Buffer.alloc(32, 1))];
const OTHER_KEYS: Keys = [createSecretKey(Buffer.alloc(32, 2))];
const CREATE: DockerOrderSpec = {
  kind: 'docker',
  mode: 'foreground',
  method: 'POST',
  path: '/containers/create?name=job',
  body: { Image: 'web:1', Env: ['B=b'] },
  timeoutSeconds: 30,
  fill: 'secrets',
};

describe('an order that is filled with secrets', () => {
  let test: TestDatabase;
  beforeAll(async () => {
    test = await createTestDatabase();
  });
  afterAll(() => test.close());

  it('has them when it is handed out, and not in its row', async () => {
    const agent = await withSecrets({ A: 'hush' });
    expect(JSON.parse((await handOut(agent.instanceId))?.body ?? '')).toEqual({
      Image: 'web:1',
      Env: ['B=b', 'A=hush'],
    });
    const [row] = await test.database.query<{ text: string }>(
      `SELECT spec::text AS text FROM orders WHERE instance_id = $1`,
      [agent.instanceId],
    );
    expect(row?.text).toContain('B=b');
    expect(row?.text).not.toContain('hush');
  });

  it('is not handed out without them where the key is another one, and the answer says so without telling them', async () => {
    const agent = await withSecrets({ A: 'hush' });
    await expect(handOut(agent.instanceId, OTHER_KEYS)).rejects.toMatchObject({
      code: 'unavailable',
      cause: { message: expect.stringContaining('ENCRYPTION_KEY') },
    });
    expect(await handOut(agent.instanceId)).toMatchObject({ number: 1 });
  });

  it.each([
    ['is of another attempt', `UPDATE assignments SET attempt_id = $2 WHERE instance_id = $1`],
    ['is retired', `UPDATE instances SET retire_reason = 'by-hand' WHERE id = $1 AND $2::uuid IS NOT NULL`],
    ['is not registered', `UPDATE instances SET registered_at = NULL WHERE id = $1 AND $2::uuid IS NOT NULL`],
  ])('is not for an instance that %s', async (_what, sql) => {
    const agent = await withSecrets({ A: 'hush' });
    const other = await insertAgent(test.database);
    await test.database.query(`DELETE FROM assignments WHERE instance_id = $1`, [other.instanceId]);
    await test.database.query(sql, [agent.instanceId, other.attemptId]);
    await expect(handOut(agent.instanceId)).rejects.toMatchObject({ code: 'unavailable' });
  });

  it('is refused by a process that could not fill it', async () => {
    const agent = await withSecrets({ A: 'hush' });
    const polls = new OrderPolls(test.database, test.signals, new Shutdown(), undefined);
    await expect(polls.poll(agent.instanceId, 0).answer).rejects.toThrow('cannot be filled');
    polls.close();
  });

  it('is a pull with the credentials of its registry, if there are any', async () => {
    await new Registries(test.database, KEYS).put('private.example.com', { username: 'robot', password: 'hüsh' });
    const pull = async (image: string, keys = KEYS) => {
      const agent = await insertAgent(test.database);
      await insertOrder(test.database, agent, 1, {
        ...pullRequest(image),
        kind: 'docker',
        mode: 'background',
        timeoutSeconds: 600,
        fill: 'registry',
      });
      return (await handOut(agent.instanceId, keys))?.headers['docker-registry-auth'];
    };
    const auth = (await pull('private.example.com/team/app:1')) ?? '';
    expect(JSON.parse(Buffer.from(auth, 'base64url').toString())).toEqual({
      username: 'robot',
      password: 'hüsh',
      serveraddress: 'private.example.com',
    });
    // With its padding: without it Docker ignores the header.
    expect(auth).toMatch(/^[A-Za-z0-9_-]+=+$/);
    expect(await pull('nginx:1.28')).toBeUndefined();
    await expect(pull('private.example.com/app', OTHER_KEYS)).rejects.toMatchObject({ code: 'unavailable' });
  });

  async function withSecrets(values: Record<string, string>): Promise<{ instanceId: string }> {
    const agent = await insertAgent(test.database);
    const { sealed } = new SecretStore(KEYS).seal(agent.jobId, values);
    await test.database.query('INSERT INTO job_secrets (job_id, version, sealed) VALUES ($1, 1, $2)', [
      agent.jobId,
      sealed,
    ]);
    await test.database.query('UPDATE deployments SET secrets_version = 1 WHERE job_id = $1', [agent.jobId]);
    await insertOrder(test.database, agent, 1, CREATE);
    return agent;
  }

  async function handOut(instanceId: string, keys = KEYS) {
    const filler = new OrderFiller(test.database, new SecretStore(keys), new Registries(test.database, keys));
    const polls = new OrderPolls(test.database, test.signals, new Shutdown(), filler);
    try {
      return await polls.poll(instanceId, 0).answer;
    } finally {
      polls.close();
    }
  }
});
