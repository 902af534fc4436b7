import { createHash, type KeyObject } from 'node:crypto';
import { Inject, Injectable, Logger } from '@nestjs/common';
import type { Config } from '../config/config.js';
import { Setting } from '../config/setting.decorator.js';
import { Database } from '../database/database.js';
import { Signals } from '../database/signals.js';
import { Problem } from '../http/problem.js';
import { LogThrottle } from '../process/log-throttle.js';
import { Occurrence } from '../process/observation.js';
import { AgentLimits } from './agent-limits.js';
import { Agents } from './agents.js';
import type { RegistrationForm } from './agent.schema.js';
import { type Identity, readIdentity } from './identity.js';
import { checkRegistration, type RefusalReason } from './registration-rules.js';
import { possibleLaunchSecrets } from './launch-secret.js';
import { admit, admitAdopted, type Admission, readRegistrationFacts } from './registration-statements.js';

/** Keys that may sign identity documents, by the token IDENTITY_KEYS. */
export const IDENTITY_KEYS = Symbol('IDENTITY_KEYS');

/** Registrations by outcome: `registered`, or why not. */
export const registrations = new Occurrence<{
  readonly outcome: 'registered' | 'unavailable' | RefusalReason | 'forged-document' | 'token-in-use';
}>('agent-registration');

/** Each try after the first follows a change of another transaction meanwhile; three in a row are no coincidence. */
const MAX_TRIES = 3;

/** Registers an instance by its identity document, which AWS signed, and the secret of its launch. */
@Injectable()
export class RegistrationService {
  readonly #logger = new Logger('Registration');
  readonly #refused = new LogThrottle();
  readonly #settings: { region: string; accountId?: string };

  constructor(
    private readonly database: Database,
    private readonly signals: Signals,
    private readonly agents: Agents,
    private readonly limits: AgentLimits,
    @Inject(IDENTITY_KEYS) private readonly keys: readonly KeyObject[],
    @Setting('encryptionKeys') private readonly encryptionKeys: Config['encryptionKeys'],
    @Setting('aws') aws: Pick<Config['aws'], 'region' | 'accountId'>,
  ) {
    this.#settings = { region: aws.region, ...(aws.accountId !== undefined && { accountId: aws.accountId }) };
  }

  /**
   * Returns when the instance is registered with this token, now or before.
   * @throws Problem forbidden, already-registered, instance-retired, too-many-requests, unavailable; only the log has
   * the reason
   */
  async register(form: RegistrationForm): Promise<void> {
    const identity = readIdentity(form.document, form.signature, this.keys);
    // Before any statement: a request without a signed document costs 50 µs.
    if (!identity) throw this.#refusal('forged-document', true, undefined);
    // From here on the sender is an instance, and the request counts with all others of this instance.
    const entry = this.limits.enter(identity.instanceId, false);
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
      if (outcome === 'retry') break;
    }
    registrations.publish({ outcome: 'unavailable' });
    throw new Problem('unavailable', 'Send the request again.', { retryAfterSeconds: 1 });
  }

  async #try(admission: Admission, token: string): Promise<'registered' | 'overtaken' | 'retry'> {
    const { identity, tokenHash } = admission;
    const facts = await readRegistrationFacts(this.database, identity.instanceId, admission.secretHash, (launchId) =>
      this.encryptionKeys.flatMap((key) => possibleLaunchSecrets(key, launchId)).map(sha256),
    );
    const verdict = checkRegistration({ ...facts, identity, tokenHash, settings: this.#settings });
    if (verdict.kind === 'refuse') throw this.#refusal(verdict.reason, verdict.isAlarm, identity);
    if (verdict.kind === 'registered' || verdict.kind === 'retry') return verdict.kind;
    const isAdoption = verdict.kind === 'adopt';
    const outcome = isAdoption
      ? await admitAdopted(this.database, admission)
      : await admit(this.database, verdict.launchId, admission);
    if (outcome === 'token-in-use') throw this.#refusal('token-in-use', true, identity);
    if (outcome === 'overtaken') return outcome;
    this.agents.forget(token);
    this.signals.eventsWritten();
    this.signals.shapesDue();
    registrations.publish({ outcome: 'registered' });
    this.#logger.log('registered', {
      instanceId: identity.instanceId,
      ...(isAdoption ? { adopted: true } : { launchId: verdict.launchId }),
    });
    return 'registered';
  }

  #refusal(reason: RefusalReason | 'forged-document' | 'token-in-use', isAlarm: boolean, identity?: Identity): Problem {
    registrations.publish({ outcome: reason });
    // Without a log line: the agent retries every few seconds until the operator, whom an alarm informed, decides.
    if (reason === 'quarantined') return new Problem('forbidden', 'This instance is in quarantine.');
    // No token is needed to send this, so anybody could flood the log.
    this.#refused.log(reason, (unlogged) =>
      this.#logger.warn('registration refused', {
        reason,
        ...(isAlarm && { alarm: true }),
        // A document that is not signed may hold anything: it is not logged.
        ...(identity && { instanceId: identity.instanceId, accountId: identity.accountId, region: identity.region }),
        ...(unlogged > 0 && { othersBefore: unlogged }),
      }),
    );
    if (reason === 'instance-retired') return new Problem('instance-retired', 'This instance is being retired.');
    if (reason === 'other-token' || reason === 'token-in-use') {
      return new Problem('already-registered', 'Instance or token belong to another registration.');
    }
    // One answer for the rest: naming the check that failed would only help an attacker.
    return new Problem('forbidden', 'This registration is refused.');
  }
}

function sha256(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}
