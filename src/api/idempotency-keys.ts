import { createHmac } from 'node:crypto';
import { Injectable } from '@nestjs/common';
import { Setting } from '../config/setting.decorator.js';
import { derivedKey } from '../database/derived-keys.js';
import { Database, type Queryable } from '../database/database.js';
import { columnsOf, statement, t } from '../database/statement.js';
import { type Keys, seal, unseal } from '../secrets/sealed.js';
import { Problem } from '../http/problem.js';
import { IdempotencyKey } from './idempotency-key.entity.js';

/** The answer of a call. `body`: JSON, byte for byte; null = none. */
export type KeptAnswer = {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string | null;
};

export type KeyedCall = {
  /** Whose key it is: two callers may use the same one. */
  readonly caller: string;
  readonly key: string;
  /** Whatever makes this call this call. */
  readonly content: string;
};

/** The same call in another process is a transaction of milliseconds; one that takes longer has trouble. */
const LOCK_TIMEOUT = '10s';
const LOCK_NOT_AVAILABLE = '55P03';

/**
 * Carries a call out once per key. Key, change and answer are one transaction: after a crash at any point either all of
 * them are there, and the repeat gets the answer, or none is, and the repeat does the work. A call that fails changes
 * nothing and keeps its key.
 */
@Injectable()
export class IdempotencyKeys {
  /** In this process repeats wait here, so that fifty of them take one connection, not fifty. */
  readonly #running = new Map<string, Promise<unknown>>();

  constructor(
    private readonly database: Database,
    @Setting('encryptionKeys') private readonly encryptionKeys: Keys,
  ) {}

  /** @throws Problem idempotency-key-reused, request-in-progress; and what `perform` throws */
  async once(
    call: KeyedCall,
    perform: () => Promise<KeptAnswer>,
  ): Promise<{ readonly answer: KeptAnswer; readonly isReplay: boolean }> {
    const name = contextOf(call);
    while (this.#running.has(name)) await this.#running.get(name);
    const running = this.database.unitOfWork((transaction) => this.#claimOrReplay(transaction, call, perform));
    this.#running.set(
      name,
      running.catch(() => undefined),
    );
    try {
      return await running;
    } finally {
      this.#running.delete(name);
    }
  }

  async #claimOrReplay(transaction: Queryable, call: KeyedCall, perform: () => Promise<KeptAnswer>) {
    const [fingerprint, ...others] = this.#fingerprintsOf(call);
    if (!(await claim(transaction, call, fingerprint))) {
      return { answer: await this.#read(transaction, call, [fingerprint, ...others]), isReplay: true };
    }
    const answer = await perform();
    const sealed = seal(this.encryptionKeys, JSON.stringify(answer), contextOf(call));
    await transaction.run(KEEP, [call.caller, call.key, sealed]);
    return { answer, isReplay: false };
  }

  async #read(transaction: Queryable, call: KeyedCall, fingerprints: readonly Buffer[]): Promise<KeptAnswer> {
    const [row] = await transaction.run(READ, [call.caller, call.key]);
    // Deleted in this moment, because it is too old.
    if (!row) throw new Problem('conflict', 'This Idempotency-Key has just expired: send the request again.');
    if (!fingerprints.some((fingerprint) => row.fingerprint.equals(fingerprint))) {
      throw new Problem('idempotency-key-reused', 'This Idempotency-Key was sent with another request before.');
    }
    return JSON.parse(this.#unseal(row.answer, call)) as KeptAnswer;
  }

  /** With a key, since a body may hold a secret that is short enough to be found by trying. */
  #fingerprintsOf({ content }: KeyedCall): [Buffer, ...Buffer[]] {
    const fingerprintBy = (key: Keys[number]) => createHmac('sha256', key).update(content).digest();
    const [key, ...oldKeys] = this.encryptionKeys.map((one) => derivedKey(one, 'request-fingerprints'));
    if (!key) throw new Error('there is no key');
    // Last, as the version before made them: of the keys themselves. They are a day old at most.
    return [fingerprintBy(key), ...oldKeys.map(fingerprintBy), ...this.encryptionKeys.map(fingerprintBy)];
  }

  #unseal(answer: Buffer, call: KeyedCall): string {
    try {
      return unseal(this.encryptionKeys, answer, contextOf(call));
    } catch (error) {
      // ENCRYPTION_KEY was changed since. The call is still not carried out again.
      const detail = 'This request was carried out before, and its answer cannot be read any more.';
      throw new Problem('conflict', detail, { cause: error });
    }
  }
}

/** Waits while another process carries out a call of the same key; false: it has been carried out. */
async function claim(transaction: Queryable, { caller, key }: KeyedCall, fingerprint: Buffer): Promise<boolean> {
  try {
    return (await transaction.run(CLAIM, [caller, key, fingerprint, LOCK_TIMEOUT])).length > 0;
  } catch (error) {
    if (!(Error.isError(error) && 'code' in error && error.code === LOCK_NOT_AVAILABLE)) throw error;
    throw new Problem('request-in-progress', 'A request with this Idempotency-Key is still being carried out.', {
      retryAfterSeconds: 1,
      cause: error,
    });
  }
}

/** What binds a kept answer to its row. */
export function contextOf({ caller, key }: Pick<KeyedCall, 'caller' | 'key'>): string {
  return `idempotency key ${caller} ${key}`;
}

// The limit is set in the statement that may wait first, which saves a round trip; it holds for the whole transaction.
const CLAIM = statement('claim-idempotency-key', { values: [t.text, t.text, t.bytea, t.text] })(`
  WITH patience AS (SELECT set_config('lock_timeout', $4, true))
  INSERT INTO idempotency_keys (caller, key, fingerprint) SELECT $1, $2, $3::bytea FROM patience
  ON CONFLICT (caller, key) DO NOTHING RETURNING 1`);

const READ = statement('read-answer', {
  values: [t.text, t.text],
  row: { ...columnsOf(IdempotencyKey, 'fingerprint'), answer: t.bytea },
})(`SELECT fingerprint, answer FROM idempotency_keys WHERE caller = $1 AND key = $2`);

const KEEP = statement('keep-answer', { values: [t.text, t.text, t.bytea] })(
  `UPDATE idempotency_keys SET answer = $3 WHERE caller = $1 AND key = $2`,
);
