import type { Database, Queryable } from '../database/database.js';
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
  for (const column of SEALED_COLUMNS) rotated.push(await rotateColumn(database, keys, column, onFailure));
  return rotated;
}

async function rotateColumn(
  database: Database,
  keys: Keys,
  column: SealedColumn,
  onFailure: (context: string, error: unknown) => void,
): Promise<Rotated> {
  const header = headerOf(keys[0]);
  let resealed = 0;
  for (let after: readonly string[] | null = null; ;) {
    const rows: SealedRow[] = await database.transaction(async (transaction) => {
      const batch = await findBatch(transaction, column, header, after);
      for (const { key, sealed } of batch) {
        const context = column.contextOf(key);
        try {
          const sealedAgain = seal(keys, unseal(keys, sealed, context), context);
          await transaction.query(updateOf(column), [...key, sealedAgain]);
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
  const [count] = await database.query<{ left: number }>(
    `SELECT count(*)::int AS left FROM ${column.table} WHERE ${isOther(column)}`,
    [header],
  );
  return { column: `${column.table}.${column.column}`, resealed, left: count?.left ?? 0 };
}

type SealedRow = { readonly key: readonly string[]; readonly sealed: Buffer };

// SKIP LOCKED: a transaction that has locked a row will write or delete it, and waiting for it could deadlock.
async function findBatch(
  transaction: Queryable,
  column: SealedColumn,
  header: Buffer,
  after: readonly string[] | null,
): Promise<SealedRow[]> {
  const key = `ARRAY[${column.key.map((name) => `${name}::text`).join(', ')}]`;
  return await transaction.query<SealedRow>(
    `SELECT ${key} AS key, ${column.column} AS sealed FROM ${column.table}
     WHERE ${isOther(column)} AND ($2::text[] IS NULL OR ${key} > $2)
     ORDER BY 1 LIMIT ${BATCH} FOR NO KEY UPDATE SKIP LOCKED`,
    [header, after],
  );
}

/** SQL: sealed, and not by the key whose header is $1. */
function isOther({ column }: SealedColumn): string {
  return `length(${column}) > 0 AND substring(${column} FROM 1 FOR length($1::bytea)) <> $1::bytea`;
}

function updateOf({ table, key, column }: SealedColumn): string {
  const condition = key.map((name, index) => `${name}::text = $${index + 1}`).join(' AND ');
  return `UPDATE ${table} SET ${column} = $${key.length + 1} WHERE ${condition}`;
}

/** After an error of the database the transaction is over in any case. */
function isOfDatabase(error: unknown): boolean {
  return Error.isError(error) && ('code' in error || 'driverError' in error);
}
