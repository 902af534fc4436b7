import { Inject, Injectable } from '@nestjs/common';
import { Setting } from '../config/setting.decorator.js';
import { z } from 'zod';
import { Database } from '../database/database.js';
import { columnsOf, type RowOf, selectList, statement, t } from '../database/statement.js';
import { authorTypes, authorValues } from '../events/author.js';
import { type Keys, seal, unseal } from '../secrets/sealed.js';
import { decodeCursor, type Page, pageColumns, pageSql, toPage } from '../http/pagination.js';
import { Problem } from '../http/problem.js';
import { Registry } from './registry.entity.js';
import { EcrRegistries } from './ecr-registries.js';
import { encodeAuth } from './registry-auth.js';
import type { ListRegistries, PutRegistry, RegistryResponse } from './registry.schema.js';
import { insertEvents } from '../events/event-sql.js';

/** Credentials of private registries. */
@Injectable()
export class Registries {
  constructor(
    private readonly database: Database,
    @Setting('encryptionKeys') private readonly keys: Keys,
    /** Asked where there is no entry: for registries whose credentials are made on demand. */
    @Inject(EcrRegistries) private readonly ecr?: Pick<EcrRegistries, 'authOf'>,
  ) {}

  /** Creates or replaces the credentials. */
  async put(host: string, { username, password }: PutRegistry): Promise<RegistryResponse> {
    const sealed = seal(this.keys, password, contextOf(host));
    const [row] = await this.database.run(PUT, [host, username, sealed, ...authorValues()]);
    return toRegistry(row ?? notFound(host));
  }

  /** By host. */
  async list({ limit, cursor }: ListRegistries): Promise<Page<RegistryResponse>> {
    const after = cursor === undefined ? '' : decodeCursor(cursor, Cursor);
    const rows = await this.database.run(LIST, [after, limit + 1]);
    return toPage(rows, limit, ({ host }) => host, toRegistry);
  }

  /** @throws Problem registry-not-found */
  async get(host: string): Promise<RegistryResponse> {
    const [row] = await this.database.run(GET, [host]);
    return toRegistry(row ?? notFound(host));
  }

  /** @throws Problem registry-not-found */
  async delete(host: string): Promise<RegistryResponse> {
    const [row] = await this.database.run(DELETE, [host, ...authorValues()]);
    return toRegistry(row ?? notFound(host));
  }

  /**
   * Value of Docker's X-Registry-Auth; undefined: nothing is known of this registry.
   * @throws Error when no key opens the password, or credentials cannot be made now
   */
  async authOf(host: string): Promise<string | undefined> {
    const [row] = await this.database.run(AUTH, [host]);
    if (!row) return await this.ecr?.authOf(host);
    const password = unseal(this.keys, row.sealed, contextOf(host));
    return encodeAuth({ username: row.username, password, serveraddress: host });
  }
}

/** What binds a sealed password to its row. */
export function contextOf(host: string): string {
  return `registry ${host}`;
}

const ROW = columnsOf(Registry, 'host', 'username', 'createdAt', 'updatedAt');

function toRegistry({ host, username, createdAt, updatedAt }: RowOf<typeof ROW>): RegistryResponse {
  return { host, username, createdAt: createdAt.toISOString(), updatedAt: updatedAt.toISOString() };
}

function notFound(host: string): never {
  throw new Problem('registry-not-found', `There are no credentials for a registry ${host}.`);
}

const Cursor = z.string().max(255);

const COLUMNS = selectList(ROW);

const HOST = `jsonb_build_object('host', host)`;

const PUT = statement('registry-put', {
  values: [t.text, t.text, t.bytea, ...authorTypes],
  row: ROW,
  isPrepared: false,
})(`
  WITH put AS (
    INSERT INTO registries (host, username, sealed) VALUES ($1, $2, $3)
    ON CONFLICT (host) DO UPDATE SET username = $2, sealed = $3, updated_at = clock_timestamp()
    RETURNING ${COLUMNS}
  ), recorded AS (
    ${insertEvents({ type: 'registry.set', actor: '$4', cause: '$5::jsonb', data: HOST }, 'FROM put')}
  )
  SELECT * FROM put`);

const DELETE = statement('registry-delete', { values: [t.text, ...authorTypes], row: ROW, isPrepared: false })(`
  WITH deleted AS (
    DELETE FROM registries WHERE host = $1 RETURNING ${COLUMNS}
  ), recorded AS (
    ${insertEvents({ type: 'registry.deleted', actor: '$2', cause: '$3::jsonb', data: HOST }, 'FROM deleted')}
  )
  SELECT * FROM deleted`);

const GET = statement('registry-get', { values: [t.text], row: ROW, isPrepared: false })(
  `SELECT ${COLUMNS} FROM registries WHERE host = $1`,
);

const LIST = statement('registry-list', {
  values: [t.text, t.bigintValue],
  row: { ...ROW, ...pageColumns },
  isPrepared: false,
})(pageSql(`SELECT ${COLUMNS} FROM registries WHERE host > $1 ORDER BY host LIMIT $2`, 'host'));

const AUTH = statement('registry-auth', { values: [t.text], row: columnsOf(Registry, 'username', 'sealed') })(
  `SELECT username, sealed FROM registries WHERE host = $1`,
);
