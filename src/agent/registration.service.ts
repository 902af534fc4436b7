import { createHash, type KeyObject } from 'node:crypto';
import { Inject, Injectable, Logger } from '@nestjs/common';
import { CONFIG, type Config } from '../config/config.js';
import { Database } from '../database/database.js';
import { Signals } from '../database/signals.js';
import { Problem } from '../http/problem.js';
import { Seldom } from '../process/seldom.js';
import { Occurrence } from '../process/observation.js';
import { Agents } from './agents.js';
import type { RegistrationForm } from './agent.schema.js';
import { type Identity, readIdentity } from './identity.js';
import { judgeRegistration, type RefusalReason } from './registration-rules.js';
import { possibleLaunchSecrets } from './launch-secret.js';
import { admit, admitAdopted, type Admission, readRegistrationFacts } from './registration-statements.js';

/** Keys that may sign identity documents, by the token IDENTITY_KEYS. */
export const IDENTITY_KEYS = Symbol('IDENTITY_KEYS');

/** Registrations by what became of them: `registered`, or why not. */
export const registrations = new Occurrence<{
  readonly outcome: 'registered' | 'unavailable' | RefusalReason | 'forged-document' | 'token-in-use';
}>('agent-registration');

/** Each try after the first follows a change someone else committed meanwhile; three in a row is no coincidence. */
const MAX_TRIES = 3;

/** Makes an instance known by its own word, AWS's signature and the secret of the launch it came from. */
@Injectable()
export class RegistrationService {
  readonly #logger = new Logger('Registration');
  readonly #refused = new Seldom();
  readonly #settings: { region: string; accountId?: string };

  constructor(
    private readonly database: Database,
    private readonly signals: Signals,
    private readonly agents: Agents,
    @Inject(CONFIG) private readonly config: Config,
    @Inject(IDENTITY_KEYS) private readonly keys: readonly KeyObject[],
  ) {
    const { aws } = config;
    this.#settings = { region: aws.region, ...(aws.accountId !== undefined && { accountId: aws.accountId }) };
  }

  /**
   * Returns when the instance is registered with this token, now or before.
   * @throws Problem forbidden, already-registered, instance-retired, too-many-requests, unavailable; the reason stands in the log alone
   */
  async register(form: RegistrationForm): Promise<void> {
    const identity = readIdentity(form.document, form.signature, this.keys);
    // Before any statement: who has no document of ours costs us 50 µs.
    if (!identity) throw this.#refusal('forged-document', true, undefined);
    // From here on it is an instance who asks, and it is counted with all else that this one sends.
    const entry = this.agents.limits.enter(identity.instanceId, false);
    if (!entry.isAllowed) {
      throw new Problem('too-many-requests', entry.detail, { retryAfterSeconds: entry.retryAfterSeconds });
    }
    try {
      await this.#admit(form, identity);
    } finally {
      entry.leave(form.document.length + form.signature.length);
    }
  }

  async #admit(form: RegistrationForm, identity: Identity): Promise<void> {
    const admission: Admission = {
      identity,
      secretHash: sha256(form.secret),
      tokenHash: sha256(form.token),
      agentVersion: form.agent,
      after: form.after,
    };
    for (let tries = 1; tries <= MAX_TRIES; tries += 1) {
      const outcome = await this.#try(admission, form.token);
      if (outcome === 'registered') return;
      if (outcome === 'ask-again') break;
    }
    registrations.tell({ outcome: 'unavailable' });
    throw new Problem('unavailable', 'Ask again.', { retryAfterSeconds: 1 });
  }

  async #try(admission: Admission, token: string): Promise<'registered' | 'overtaken' | 'ask-again'> {
    const { identity, tokenHash } = admission;
    const facts = await readRegistrationFacts(this.database, identity.instanceId, admission.secretHash, (launchId) =>
      this.config.encryptionKeys.flatMap((key) => possibleLaunchSecrets(key, launchId)).map(sha256),
    );
    const verdict = judgeRegistration({ ...facts, identity, tokenHash, settings: this.#settings });
    if (verdict.kind === 'refuse') throw this.#refusal(verdict.reason, verdict.isAlarm, identity);
    if (verdict.kind === 'registered' || verdict.kind === 'ask-again') return verdict.kind;
    const isAdoption = verdict.kind === 'adopt';
    const outcome = isAdoption
      ? await admitAdopted(this.database, admission)
      : await admit(this.database, verdict.launchId, admission);
    if (outcome === 'token-in-use') throw this.#refusal('token-in-use', true, identity);
    if (outcome === 'overtaken') return outcome;
    this.agents.forget(token);
    this.signals.sendHere('new-events');
    this.signals.send('shapes');
    registrations.tell({ outcome: 'registered' });
    this.#logger.log('registered', {
      instanceId: identity.instanceId,
      ...(isAdoption ? { adopted: true } : { launchId: verdict.launchId }),
    });
    return 'registered';
  }

  #refusal(reason: RefusalReason | 'forged-document' | 'token-in-use', isAlarm: boolean, identity?: Identity): Problem {
    registrations.tell({ outcome: reason });
    // It asks again every few seconds until an operator has decided, who was alarmed when it was found.
    if (reason === 'quarantined') return new Problem('forbidden', 'This instance is in quarantine.');
    // Nobody needs a token to ask.
    this.#refused.tell(reason, (untold) =>
      this.#logger.warn('registration refused', {
        reason,
        ...(isAlarm && { alarm: true }),
        // A document that is not signed may say anything: it does not get into the log.
        ...(identity && { instanceId: identity.instanceId, accountId: identity.accountId, region: identity.region }),
        ...(untold > 0 && { othersBefore: untold }),
      }),
    );
    if (reason === 'instance-retired') return new Problem('instance-retired', 'This instance is to end.');
    if (reason === 'other-token' || reason === 'token-in-use') {
      return new Problem('already-registered', 'Instance or token belong to another registration.');
    }
    // One answer for the rest: which check failed would help only those who try to get around it.
    return new Problem('forbidden', 'This registration is refused.');
  }
}

function sha256(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}
