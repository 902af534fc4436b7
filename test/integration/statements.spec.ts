import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import pg from 'pg';
import {
  type Column,
  type Columns,
  registeredStatements,
  type Statement,
  statement,
  t,
} from '../../src/database/statement.ts';
import { SCHEMA } from '../../src/schema/data-source.ts';
import { createTestDatabase, type TestDatabase } from '../support/database.ts';

const SOURCE = join(import.meta.dirname, '../../src');

/** What Postgres says of a statement it has parsed. */
type Described = { readonly parameters: readonly string[]; readonly columns: readonly (readonly [string, string])[] };

const WRONG = statement('test-of-a-wrong-declaration', {
  values: [t.int],
  row: { id: t.int, missing: t.nullable(t.text) },
})('SELECT id, revoked_at FROM tokens WHERE id = $1');

describe('every declared statement', () => {
  let test: TestDatabase;
  let client: pg.Client;
  let types: ReadonlyMap<number, string>;
  const files = filesWithStatements();
  beforeAll(async () => {
    for (const file of files) await import(file);
    test = await createTestDatabase();
    client = new pg.Client({ connectionString: test.url });
    await client.connect();
    await client.query(`SET search_path TO "${SCHEMA}"`);
    const { rows } = await client.query<{ oid: number; name: string }>(
      'SELECT oid::int, format_type(oid, -1) AS name FROM pg_type',
    );
    types = new Map(rows.map(({ oid, name }) => [oid, name]));
  });
  afterAll(async () => {
    await client.end();
    await test.close();
  });

  const nameOf = (oid: number): string => types.get(oid) ?? `type ${oid}`;

  it('has the parameters and the columns that Postgres finds in it', async () => {
    const faults: string[] = [];
    for (const declared of registeredStatements.values())
      if (declared !== (WRONG as Statement))
        faults.push(...faultsOf(declared, await describeStatement(client, declared.sql, nameOf)));
    expect(faults).toEqual([]);
    // One file only declares `statement`, and one statement is the wrong one.
    expect(registeredStatements.size).toBeGreaterThanOrEqual(files.length);
  });

  it('would be found with a wrong one', async () => {
    expect(faultsOf(WRONG as Statement, await describeStatement(client, WRONG.sql, nameOf))).toEqual([
      'test-of-a-wrong-declaration: values are (text), and not (integer)',
      'test-of-a-wrong-declaration: columns are (id text, revoked_at timestamp with time zone), and not (id integer, missing text)',
    ]);
    await expect(describeStatement(client, 'SELECT gone FROM tokens', nameOf)).rejects.toThrow(
      'column "gone" does not exist',
    );
  });
});

/** All of them, for some are loaded only where they run: the fleet's, a command's. */
function filesWithStatements(): string[] {
  const files = readdirSync(SOURCE, { recursive: true, encoding: 'utf8' }).map((file) => join(SOURCE, file));
  return files.filter((file) => /(?<!\.spec)\.ts$/.test(file) && /\bstatement\(/.test(readFileSync(file, 'utf8')));
}

it('two statements of one name are refused', () => {
  expect(() => statement(WRONG.name)('SELECT 1')).toThrow('two statements are named test-of-a-wrong-declaration');
});

function faultsOf({ name, values, row }: Statement, { parameters, columns }: Described): string[] {
  const isRead = Object.keys(row).length > 0;
  const pairs = [
    ['values', parameters.join(', '), values.map(({ type }) => type).join(', ')],
    ['columns', columns.map((one) => one.join(' ')).join(', '), isRead ? listOf(row) : ''],
  ] as const;
  return pairs
    .filter(([what, found, declared]) => found !== declared && (what === 'values' || isRead))
    .map(([what, found, declared]) => `${name}: ${what} are (${found}), and not (${declared})`);
}

function listOf(row: Columns): string {
  return Object.entries(row)
    .map(([name, { type }]: [string, Column]) => `${name} ${type}`)
    .join(', ');
}

/** Part of pg that its types leave out: the messages of the extended protocol. */
type Connection = {
  parse(query: { text: string; name: string; types: readonly number[] }): void;
  describe(message: { type: 'S'; name: string }): void;
  sync(): void;
} & NodeJS.EventEmitter;

/** Has Postgres parse and describe a statement, without running it. @throws what Postgres finds wrong in it */
async function describeStatement(client: pg.Client, sql: string, nameOf: (oid: number) => string): Promise<Described> {
  const { connection } = client as unknown as { connection: Connection };
  return await new Promise<Described>((done, failed) => {
    // pg runs one query object at a time; this one only parses and describes.
    const described = { parameters: [] as string[], columns: [] as [string, string][] };
    const onParameters = ({ dataTypeIDs }: { dataTypeIDs: number[] }): void => {
      described.parameters = dataTypeIDs.map(nameOf);
    };
    connection.on('parameterDescription', onParameters);
    const finish = (end: () => void): void => {
      connection.off('parameterDescription', onParameters);
      end();
    };
    client.query({
      submit: () => {
        connection.parse({ text: sql, name: '', types: [] });
        connection.describe({ type: 'S', name: '' });
        connection.sync();
      },
      handleRowDescription: ({ fields }: { fields: { name: string; dataTypeID: number }[] }) => {
        described.columns = fields.map(({ name, dataTypeID }) => [name, nameOf(dataTypeID)]);
      },
      handleError: (error: Error) => finish(() => failed(error)),
      handleReadyForQuery: () => finish(() => done(described)),
    } as unknown as pg.Submittable);
  });
}
