import { contextOf as answerContextOf } from '../api/idempotency-keys.js';
import { contextOf as registryContextOf } from '../registries/registries.js';
import { contextOf as webhookContextOf } from '../webhooks/webhook-secrets.js';
import { contextOf as secretsContextOf } from '../secrets/secret-store.js';

/** A column with sealed values. A test fails for one in the database that is not listed. */
export type SealedColumn = {
  readonly table: string;
  readonly key: readonly string[];
  readonly column: string;
  /** The context its values are sealed with. @param key as text */
  readonly contextOf: (key: readonly string[]) => string;
};

export const SEALED_COLUMNS: readonly SealedColumn[] = [
  {
    table: 'job_secrets',
    key: ['job_id', 'version'],
    column: 'sealed',
    contextOf: ([jobId = '', version]) => secretsContextOf(jobId, Number(version)),
  },
  {
    table: 'idempotency_keys',
    key: ['caller', 'key'],
    column: 'answer',
    contextOf: ([caller = '', key = '']) => answerContextOf({ caller, key }),
  },
  { table: 'registries', key: ['host'], column: 'sealed', contextOf: ([host = '']) => registryContextOf(host) },
  { table: 'webhooks', key: ['id'], column: 'sealed', contextOf: ([id = '']) => webhookContextOf(id) },
  { table: 'webhooks', key: ['id'], column: 'previous_sealed', contextOf: ([id = '']) => webhookContextOf(id) },
  { table: 'launches', key: ['id'], column: 'input', contextOf: ([id = '']) => id },
];
