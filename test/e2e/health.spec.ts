import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { Heartbeats } from '../../src/process/heartbeats.ts';
import { Shutdown } from '../../src/process/shutdown.ts';
import { type Api, startApi } from '../support/api.ts';
import { createEmptyDatabase, dropDatabase } from '../support/database.ts';

describe('health', () => {
  let api: Api;
  let databaseUrl: string;

  beforeAll(async () => {
    databaseUrl = await createEmptyDatabase();
    api = await startApi({ databaseUrl, env: { ADMIN_TOKEN: 'the-token-of-the-operator', ROLE: 'api' } });
  });

  afterAll(async () => {
    await api.close();
    await dropDatabase(databaseUrl);
  });

  const anonymous = { headers: { authorization: undefined } };

  it('is alive', async () => {
    const { status, body } = await api.request('GET', '/health/live', anonymous);
    expect(status).toBe(200);
    expect(body).toMatchObject({ status: 'ok' });
  });

  it('is ready, with its database migrated by the start', async () => {
    const { status, body } = await api.request('GET', '/health/ready', anonymous);
    expect(status).toBe(200);
    expect(body).toMatchObject({ status: 'ok', details: { process: { status: 'up' }, database: { status: 'up' } } });
  });

  it('is ready though degraded when AWS does not do as it should', async () => {
    const heartbeats = api.app.get(Heartbeats);
    heartbeats.degrade('aws', 'RequestLimitExceeded');
    const { status, body } = await api.request('GET', '/health/ready', anonymous);
    heartbeats.recover('aws');
    expect(status).toBe(200);
    expect(body).toMatchObject({
      status: 'degraded',
      details: { aws: { status: 'degraded', message: 'RequestLimitExceeded' } },
    });
  });

  it('is not ready while a loop is silent', async () => {
    const heartbeats = api.app.get(Heartbeats);
    heartbeats.expect('stuck', -1);
    const { status, headers, body } = await api.request('GET', '/health/ready', anonymous);
    heartbeats.forget('stuck');
    expect(status).toBe(503);
    expect(headers.get('content-type')).toContain('application/json');
    expect(body).toMatchObject({ status: 'error', error: { loops: { status: 'down', stuck: { isAlive: false } } } });
  });

  it('is alive but not ready once a shutdown has begun, and lets connections go', async () => {
    api.app.get(Shutdown).begin();
    const ready = await api.request('GET', '/health/ready', anonymous);
    const live = await api.request('GET', '/health/live', anonymous);
    expect([ready.status, live.status]).toEqual([503, 200]);
    expect(ready.body).toMatchObject({ error: { process: { status: 'down', message: 'shutting down' } } });
    expect(ready.headers.get('connection')).toBe('close');
  });
});

describe('health without a database', () => {
  it('is alive, not ready, and says what is away', async () => {
    const databaseUrl = await createEmptyDatabase();
    const api = await startApi({ databaseUrl, env: { ROLE: 'api' } });
    try {
      await dropDatabase(databaseUrl);
      const ready = await api.request('GET', '/health/ready');
      expect(ready.status).toBe(503);
      expect(ready.body).toMatchObject({ error: { database: { status: 'down' } } });
      expect((await api.request('GET', '/health/live')).status).toBe(200);
    } finally {
      await api.close();
    }
  });
});
