import { createSecretKey } from 'node:crypto';
import { beforeEach, describe, expect, it } from '@jest/globals';
import type { Database } from '../database/database.js';
import { ADMIN, type Caller } from '../http/caller.js';
import { CreateWebhook, PatchWebhook } from './webhook.schema.js';
import { openSecrets } from './webhook-secrets.js';
import { findWebhook, holdWebhook, WebhooksService } from './webhooks.service.js';

const KEYS = [createSecretKey(Buffer.alloc(32, 1))] as const;
const ID = '00000000-0000-4000-8000-000000000001';
const AT = new Date('2026-05-04T09:31:07.000Z');
const TEAM: Caller = { ...ADMIN, id: '00000001', role: 'deployer', scope: ['team-a-', 'web'] };
const ROW = {
  id: ID,
  url: 'https://example.com/',
  description: 'd',
  events: ['*'],
  jobs: null as readonly string[] | null,
  enabled: true,
  disabledReason: null as string | null,
  failingSince: null as Date | null,
  version: 3,
  createdAt: AT,
  updatedAt: AT,
  previousUntil: null as Date | null,
  exactCreatedAt: '2026-05-04T09:31:07.000123Z',
};

/** The table of webhooks with one in it, or none. */
class Table {
  row: typeof ROW | undefined = { ...ROW };
  count = { all: 0, own: 0 };
  listed: object[] = [];
  /** What was written, by the name of its statement. */
  readonly written = new Map<string, readonly unknown[]>();
  readonly events: { type: string; data: unknown }[] = [];

  run({ name }: { readonly name: string }, values: readonly unknown[]): Promise<unknown[]> {
    if (name === 'append-events') this.events.push(...(JSON.parse(values[0] as string) as typeof this.events));
    else this.written.set(name, values);
    // Whoever counts must be the only one, until the webhook is there.
    if (name === 'webhook-count' && this.written.has('webhook-lock-limits')) return Promise.resolve([this.count]);
    if (name === 'webhook-list') return Promise.resolve(this.listed);
    if (name === 'webhook-insert') return Promise.resolve([{ ...ROW, ...this.#fieldsOf(values) }]);
    if (name === 'webhook-update') return Promise.resolve(this.row ? [{ ...this.row, ...this.#fieldsOf(values) }] : []);
    if (['webhook-get', 'webhook-hold', 'webhook-lock', 'webhook-rotate-secret'].includes(name))
      return Promise.resolve(this.row ? [this.row] : []);
    return Promise.resolve([]);
  }

  #fieldsOf([id, url, description, events, jobs, enabled]: readonly unknown[]) {
    return { id, url, description, events, jobs, enabled };
  }

  transaction(work: (transaction: Table) => unknown): unknown {
    return work(this);
  }

  get database(): Database {
    return this as unknown as Database;
  }
}

describe('webhooks', () => {
  let table: Table;
  let webhooks: WebhooksService;
  beforeEach(() => {
    table = new Table();
    webhooks = new WebhooksService(table.database, { allowedNetworks: [] }, KEYS);
  });

  const wanted = (fields: object = {}) => CreateWebhook.parse({ url: 'https://example.com/hook', ...fields });
  const problemOf = (error: unknown): unknown => error;

  it('are made with a secret that is shown once and kept sealed, for an event without it and the URL', async () => {
    const { webhook, version } = await webhooks.create(wanted({ description: 'mine' }), ADMIN);
    const [id, url, , , jobs, , sealed, createdBy, isForAdmins] = table.written.get('webhook-insert')!;
    expect(openSecrets(KEYS, id as string, [sealed as Buffer])).toEqual([webhook.secret]);
    expect([url, jobs, createdBy, isForAdmins]).toEqual(['https://example.com/hook', null, 'admin', true]);
    expect([webhook.description, version]).toEqual(['mine', 3]);
    expect(table.events).toMatchObject([{ type: 'webhook.created', data: { webhook: id, description: 'mine' } }]);
    expect(JSON.stringify(table.events)).not.toMatch(/whsec|example\.com/);
  });

  it.each<[string, object, Caller, readonly string[] | null]>([
    ['the whole scope of its token', {}, TEAM, ['team-a-', 'web']],
    ['what it names in it', { jobs: ['team-a-x', 'website'] }, TEAM, ['team-a-x', 'website']],
    ['every job, of an administrator', {}, ADMIN, null],
    ['every job, where an administrator says so', { jobs: null }, ADMIN, null],
    ['what an administrator names', { jobs: ['x'] }, ADMIN, ['x']],
  ])('are for %s', async (_what, fields, caller, jobs) => {
    await webhooks.create(wanted(fields), caller);
    expect(table.written.get('webhook-insert')![4]).toEqual(jobs);
    expect(table.written.get('webhook-insert')![8]).toBe(caller === ADMIN);
  });

  it.each<[string, object, string, string]>([
    ['every job', { jobs: null }, 'forbidden', '#/jobs'],
    ['jobs outside its scope', { jobs: ['web', 'team-b-'] }, 'forbidden', '#/jobs/1'],
    ['more than its scope', { jobs: ['team-a'] }, 'forbidden', '#/jobs/0'],
    ['a place that nobody may reach', { url: 'https://127.0.0.1/' }, 'invalid-request', '#/url'],
  ])('are neither made nor changed by a token with a scope for %s', async (_what, fields, code, pointer) => {
    const refusal = { code, errors: [{ pointer, detail: expect.any(String) }] };
    await expect(webhooks.create(wanted(fields), TEAM)).rejects.toMatchObject(refusal);
    await expect(webhooks.patch(ID, PatchWebhook.parse(fields), null, TEAM)).rejects.toMatchObject(refusal);
    expect(table.written.size).toBe(0);
  });

  it.each<[string, Caller, { all: number; own: number }, RegExp | undefined]>([
    ['99 of all', ADMIN, { all: 99, own: 99 }, undefined],
    ['100 of all', ADMIN, { all: 100, own: 100 }, /^There may be 100 webhooks in this cluster: delete one\.$/],
    ['9 of the scope', TEAM, { all: 99, own: 9 }, undefined],
    [
      '10 of the scope',
      TEAM,
      { all: 20, own: 10 },
      /^There may be 10 webhooks for jobs whose names begin with team-a- or web: delete one\.$/,
    ],
    ['100 of others', TEAM, { all: 100, own: 0 }, /^There may be 100 webhooks in this cluster/],
    ['its own number, less one', { ...TEAM, maxWebhooks: 12 }, { all: 20, own: 11 }, undefined],
    ['its own number', { ...TEAM, maxWebhooks: 12 }, { all: 20, own: 12 }, /^There may be 12 webhooks for jobs/],
    ['its own number for all', { ...ADMIN, maxWebhooks: 2 }, { all: 2, own: 2 }, /^There may be 2 webhooks in this/],
  ])('are as many as there may be where there are %s', async (_what, caller, count, refusal) => {
    table.count = count;
    const made = await webhooks.create(wanted(), caller).catch(problemOf);
    if (refusal) expect(made).toMatchObject({ code: 'webhook-limit-reached', detail: expect.stringMatching(refusal) });
    else expect(made).toMatchObject({ version: 3 });
    expect(table.written.has('webhook-insert')).toBe(refusal === undefined);
  });

  it.each<[string, object, object]>([
    ['nothing', {}, {}],
    ['the URL', { url: 'https://example.org/' }, { url: 'https://example.org/' }],
    ['what it is for', { events: ['job.*'], jobs: ['web'] }, { events: ['job.*'], jobs: ['web'] }],
    ['the description', { description: '' }, { description: '' }],
    ['that it is enabled', { enabled: false }, { enabled: false }],
  ])('keep what a patch leaves out: it changes %s', async (_what, patch, changed) => {
    const { webhook } = await webhooks.patch(ID, PatchWebhook.parse(patch), null, ADMIN);
    const { url, description, events, jobs, enabled } = { ...ROW, ...changed };
    expect(webhook).toMatchObject({ url, description, events, jobs, enabled });
    expect(table.events).toMatchObject([{ type: 'webhook.changed', data: { events, jobs, enabled } }]);
  });

  it.each<[object, boolean, boolean, string]>([
    [{ enabled: true }, false, true, 'webhook-cancel-foreign-deliveries'],
    [{ enabled: false }, true, false, 'webhook-cancel-deliveries'],
    [{ description: 'x' }, true, false, 'webhook-cancel-foreign-deliveries'],
    [{ description: 'x' }, false, false, 'webhook-cancel-deliveries'],
  ])('by %j, enabled before: %s, start their failures over: %s', async (patch, enabled, startsOver, cancelled) => {
    table.row = { ...ROW, enabled };
    await webhooks.patch(ID, PatchWebhook.parse(patch), null, TEAM);
    expect(table.written.get('webhook-update')!.slice(6)).toEqual([startsOver, false]);
    expect([...table.written.keys()].filter((name) => name.includes('cancel'))).toEqual([cancelled]);
  });

  it.each([
    ['any version', null, true],
    ['this version', [3], true],
    ['this or another', [2, 3], true],
    ['another version', [2], false],
    ['no version', [], false],
  ])('are changed and deleted as they were last seen: by %s', async (_what, versions, isDone) => {
    const outcomes = [
      await webhooks.patch(ID, {}, versions, ADMIN).catch(problemOf),
      await webhooks.delete(ID, versions, ADMIN).catch(problemOf),
    ];
    for (const outcome of outcomes) {
      if (isDone) expect(outcome).not.toBeInstanceOf(Error);
      else expect(outcome).toMatchObject({ code: 'precondition-failed' });
    }
    const types = table.events.map(({ type }) => type);
    expect(types).toEqual(isDone ? ['webhook.changed', 'webhook.deleted'] : []);
    expect(table.written.has('webhook-delete')).toBe(isDone);
  });

  it('are listed page by page', async () => {
    const ids = [0, 1, 2].map((n) => `${ID.slice(0, -1)}${n}`);
    table.listed = ids.map((id) => ({ ...ROW, id, pageRows: 3, pageBytesBefore: '0' }));
    const page = await webhooks.list({ limit: 2 }, TEAM);
    expect(page.items.map(({ id }) => id)).toEqual(ids.slice(0, 2));
    expect(table.written.get('webhook-list')).toEqual([TEAM.scope, false, null, null, 3]);
    await webhooks.list({ limit: 2, cursor: page.nextCursor! }, ADMIN);
    expect(table.written.get('webhook-list')).toEqual([null, true, ROW.exactCreatedAt, ids[1], 3]);
  });

  it('are held for a delivery that a client requests', async () => {
    expect(await holdWebhook(table.database, ID, ADMIN)).toMatchObject({ id: ID, version: 3 });
  });

  it('have a new secret that is sealed for them', async () => {
    const { webhook } = await webhooks.rotateSecret(ID, { graceSeconds: 60 }, ADMIN);
    const [id, sealed, grace] = table.written.get('webhook-rotate-secret')!;
    expect(openSecrets(KEYS, ID, [sealed as Buffer])).toEqual([webhook.secret]);
    expect([id, grace, table.events.map(({ type }) => type)]).toEqual([ID, 60, ['webhook.secret-rotated']]);
  });

  it('are shown with all their times, and without a secret', async () => {
    const shown = { ...ROW, failingSince: AT, previousUntil: AT, disabledReason: 'gone', enabled: false };
    table.row = shown;
    const { webhook, version } = await webhooks.get(ID, ADMIN);
    const at = AT.toISOString();
    const times = { failingSince: at, previousSecretUntil: at, createdAt: at, updatedAt: at };
    const { id, url, description, events, jobs, enabled, disabledReason } = shown;
    const fields = { id, url, description, events, jobs, enabled, disabledReason };
    expect([webhook, version]).toEqual([{ ...fields, ...times }, 3]);
    table.row = { ...ROW };
    expect(await webhooks.get(ID, ADMIN)).toMatchObject({ webhook: { failingSince: null, previousSecretUntil: null } });
  });

  it('that are none, or have no such id, are not found, and an id of another form reaches no statement', async () => {
    const calls = (id: string) => [
      webhooks.get(id, ADMIN),
      webhooks.patch(id, {}, null, ADMIN),
      webhooks.delete(id, null, ADMIN),
      webhooks.rotateSecret(id, { graceSeconds: 0 }, ADMIN),
      findWebhook(table.database, id, ADMIN),
      holdWebhook(table.database, id, ADMIN),
    ];
    const found = await Promise.allSettled(calls('x'));
    expect(table.written.size).toBe(0);
    table.row = undefined;
    for (const outcome of [...found, ...(await Promise.allSettled(calls(ID)))]) {
      expect(outcome).toMatchObject({ status: 'rejected', reason: { code: 'webhook-not-found' } });
    }
    expect(table.events).toEqual([]);
  });
});
