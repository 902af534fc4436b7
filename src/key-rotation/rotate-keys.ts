import type { Database } from '../database/database.js';
import { statement, t } from '../database/statement.js';
import { headerOf, type Keys, seal, unseal } from '../secrets/sealed.js';
import { SEALED_COLUMNS, type SealedColumn } from './sealed-columns.js';

/** Small enough that no batch holds its rows for more than some milliseconds. */
const BATCH = 100;

/** `left`: values that the first key still does not seal, as no key opens them or their rows were locked. */
export type Rotated = { readonly column: string; readonly resealed: number; readonly left: number };

/**
 * Seals with the first key what another key sealed. Each batch is a transaction of its own, so the rotation may be
 * stopped anywhere and run again, and the API may run meanwhile, provided that all its processes have both keys.
 * @param onFailure called for each value that no key opens
 */
export async function rotateKeys(
  database: Database,
  keys: Keys,
  onFailure: (context: string, error: unknown) => void,
): Promise<Rotated[]> {
  const rotated: Rotated[] = [];
  for (const column of COLUMNS) rotated.push(await rotateColumn(database, keys, column, onFailure));
  return rotated;
}

async function rotateColumn(
  database: Database,
  keys: Keys,
  { name, contextOf, find, update, count }: Statements,
  onFailure: (context: string, error: unknown) => void,
): Promise<Rotated> {
  const header = headerOf(keys[0]);
  let resealed = 0;
  for (let after: readonly string[] | null = null; ;) {
    const rows: readonly { readonly key: readonly string[] }[] = await database.transaction(async (transaction) => {
      const batch = await transaction.run(find, [header, after]);
      for (const { key, sealed } of batch) {
        const context = contextOf(key);
        try {
          const sealedAgain = seal(keys, unseal(keys, sealed, context), context);
          await transaction.run(update, [...key, sealedAgain]);
          resealed += 1;
        } catch (error) {
          if (isOfDatabase(error)) throw error;
          onFailure(context, error);
        }
      }
      return batch;
    });
    after = rows.at(-1)?.key ?? after;
    if (rows.length < BATCH) break;
  }
  const [counted] = await database.run(count, [header]);
  return { column: name, resealed, left: counted?.left ?? 0 };
}

type Statements = ReturnType<typeof statementsOf>;

const COLUMNS = SEALED_COLUMNS.map(statementsOf);

function statementsOf({ table, key, column, contextOf }: SealedColumn) {
  const name = `${table}.${column}`;
  const named = (what: string): string => `key-rotation-${what}-${name.replaceAll(/[._]/g, '-')}`;
  const keyAsText = `ARRAY[${key.map((part) => `${part}::text`).join(', ')}]`;
  // Sealed, and not by the key whose header is $1.
  const isOther = `length(${column}) > 0 AND substring(${column} FROM 1 FOR length($1::bytea)) <> $1::bytea`;
  return {
    name,
    contextOf,
    // SKIP LOCKED: a transaction that has locked a row will write or delete it, and waiting for it could deadlock.
    find: statement(named('find'), {
      values: [t.bytea, t.nullable(t.arrayOf(t.text))],
      row: { key: t.arrayOf(t.text), sealed: t.bytea },
      isPrepared: false,
    })(`SELECT ${keyAsText} AS key, ${column} AS sealed FROM ${table}
       WHERE ${isOther} AND ($2::text[] IS NULL OR ${keyAsText} > $2)
       ORDER BY 1 LIMIT ${BATCH} FOR NO KEY UPDATE SKIP LOCKED`),
    update: statement(named('update'), {
      values: [...key.map(() => t.text), t.bytea],
      isPrepared: false,
    })(`UPDATE ${table} SET ${column} = $${key.length + 1}
       WHERE ${key.map((part, index) => `${part}::text = $${index + 1}`).join(' AND ')}`),
    count: statement(named('count'), { values: [t.bytea], row: { left: t.int }, isPrepared: false })(
      `SELECT count(*)::int AS left FROM ${table} WHERE ${isOther}`,
    ),
  };
}

/** After an error of the database the transaction is over in any case. */
function isOfDatabase(error: unknown): boolean {
  return Error.isError(error) && ('code' in error || 'driverError' in error);
}
