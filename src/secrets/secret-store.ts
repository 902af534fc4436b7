import { Injectable } from '@nestjs/common';
import { Setting } from '../config/setting.decorator.js';
import type { Queryable } from '../database/database.js';
import { statement, t } from '../database/statement.js';
import { type Keys, seal, unseal } from './sealed.js';
import { Problem, type ProblemError } from '../http/problem.js';
import { summarize, toPointer } from '../http/validation-errors.js';
import { findSecretFaults, mergeSecrets, type SecretsPatch, type SecretValues } from './secret-values.js';

/** The version of the secrets that a job or a deployment refers to, and their names. Null: none. */
export type SecretsRef = { readonly version: number | null; readonly names: readonly string[] };

export const NO_SECRETS: SecretsRef = { version: null, names: [] };

/** A version as its row holds it. */
export type SealedSecrets = { readonly jobId: string; readonly version: number; readonly sealed: Buffer };

/** Seals secrets of jobs, keeps their versions, and opens them for orders. */
@Injectable()
export class SecretStore {
  constructor(@Setting('encryptionKeys') private readonly keys: Keys) {}

  /** Version 1, to be written with its job. */
  seal(jobId: string, values: SecretValues): SecretsRef & { readonly sealed: Buffer | null } {
    const names = namesOf(values);
    if (names.length === 0) return { ...NO_SECRETS, sealed: null };
    return { version: 1, names, sealed: this.#seal(jobId, 1, values) };
  }

  /**
   * The reference after `patch`: to a new version if that changes anything. The job's row must be locked.
   * @param env of the definition they are for
   * @throws Problem invalid-request; conflict when the present ones do not open
   */
  async change(
    transaction: Queryable,
    jobId: string,
    present: SecretsRef,
    patch: SecretsPatch | undefined,
    env: Readonly<Record<string, string>>,
  ): Promise<SecretsRef> {
    if (patch === undefined || (patch === null && present.version === null)) return checked(present, {}, env);
    const before = patch === null ? {} : await this.#read(transaction, jobId, present.version);
    const values = mergeSecrets(before, patch);
    const after = checked({ version: null, names: namesOf(values) }, values, env);
    if (after.names.length === 0) return NO_SECRETS;
    if (JSON.stringify(values) === JSON.stringify(before)) return present;
    const version = await nextVersion(transaction, jobId);
    const sealed = this.#seal(jobId, version, values);
    await transaction.run(INSERT, [jobId, version, sealed]);
    return { ...after, version };
  }

  /** @throws Error when no key opens them */
  open({ jobId, version, sealed }: SealedSecrets): SecretValues {
    return JSON.parse(unseal(this.keys, sealed, contextOf(jobId, version))) as SecretValues;
  }

  #seal(jobId: string, version: number, values: SecretValues): Buffer {
    return seal(this.keys, JSON.stringify(values), contextOf(jobId, version));
  }

  async #read(transaction: Queryable, jobId: string, version: number | null): Promise<SecretValues> {
    if (version === null) return {};
    const [row] = await transaction.run(READ, [jobId, version]);
    try {
      if (!row) throw new Error(`job ${jobId} has no secrets of version ${version}`);
      return this.open({ jobId, version, sealed: row.sealed });
    } catch (error) {
      const detail = 'The secrets of this job cannot be opened. Set secrets to null, then set all of them again.';
      throw new Problem('conflict', detail, { cause: error });
    }
  }
}

/** What binds sealed secrets to their row. */
export function contextOf(jobId: string, version: number): string {
  return `secrets ${jobId} ${version}`;
}

function checked(ref: SecretsRef, values: SecretValues, env: Readonly<Record<string, string>>): SecretsRef {
  const faults = findSecretFaults(ref.names, values, env);
  if (faults.length === 0) return ref;
  const errors: ProblemError[] = faults.map(({ name, detail }) => ({
    pointer: toPointer(name === undefined ? ['secrets'] : ['secrets', name]),
    detail,
  }));
  throw new Problem('invalid-request', summarize(errors), { errors });
}

function namesOf(values: SecretValues): string[] {
  return Object.keys(values).sort();
}

async function nextVersion(transaction: Queryable, jobId: string): Promise<number> {
  const [row] = await transaction.run(COUNT, [jobId]);
  if (!row) throw new Error(`there is no job ${jobId}`);
  return row.secretsCount;
}

const READ = statement('read-job-secrets', { values: [t.uuid, t.int], row: { sealed: t.bytea } })(
  `SELECT sealed FROM job_secrets WHERE job_id = $1 AND version = $2`,
);

const COUNT = statement('count-job-secrets', { values: [t.uuid], row: { secretsCount: t.int } })(
  `UPDATE jobs SET secrets_count = secrets_count + 1 WHERE id = $1 RETURNING secrets_count AS "secretsCount"`,
);

const INSERT = statement('insert-job-secrets', { values: [t.uuid, t.int, t.bytea] })(
  `INSERT INTO job_secrets (job_id, version, sealed) VALUES ($1, $2, $3)`,
);
