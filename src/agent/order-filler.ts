import { Injectable } from '@nestjs/common';
import { Database } from '../database/database.js';
import { columnsOf, selectList, statement, t } from '../database/statement.js';
import { Problem } from '../http/problem.js';
import { Registries } from '../registries/registries.js';
import { JobSecrets } from '../jobs/job-secrets.entity.js';
import { SecretStore } from '../secrets/secret-store.js';
import { registryOfPull } from '../docker/container-spec.js';
import type { DockerOrderSpec, OrderFilling } from '../docker/order.js';

/** An agent polls again after seconds anyway; an operator may need minutes to correct a key. */
const RETRY_AFTER_SECONDS = 10;

/** Adds to an order, when an agent gets it, what must not be stored with it. */
@Injectable()
export class OrderFiller {
  constructor(
    private readonly database: Database,
    private readonly secrets: SecretStore,
    private readonly registries: Registries,
  ) {}

  /** @throws Problem unavailable: the agent polls again, perhaps at a process that has the right key */
  async fill(instanceId: string, number: number, { fill, path }: DockerOrderSpec): Promise<OrderFilling> {
    try {
      if (fill === 'secrets') return { env: await this.#environment(instanceId, number) };
      return { registryAuth: await this.registries.authOf(registryOfPull(path)) };
    } catch (error) {
      const cause = new Error(`order ${number} of ${instanceId} is not handed out: ${String(error)}`, { cause: error });
      throw new Problem('unavailable', 'The secrets or credentials of this order cannot be read now.', {
        retryAfterSeconds: RETRY_AFTER_SECONDS,
        cause,
      });
    }
  }

  async #environment(instanceId: string, number: number): Promise<string[]> {
    const [row] = await this.database.run(SECRETS, [instanceId, number]);
    if (!row) throw new Error('the instance is not the one of its attempt any more, or the secrets are deleted');
    return Object.entries(this.secrets.open(row)).map(([name, value]) => `${name}=${value}`);
  }
}

const ROW = columnsOf(JobSecrets, 'jobId', 'version', 'sealed');

// The caller has the token of a registered instance; the statement checks that the attempt is still its own.
const SECRETS = statement('order-secrets', { values: [t.text, t.int], row: ROW })(`
  SELECT ${selectList(ROW, 's')}
  FROM orders o
  JOIN instances i ON i.id = o.instance_id AND i.registered_at IS NOT NULL AND i.retire_reason IS NULL
  JOIN assignments x ON x.instance_id = i.id AND x.attempt_id = o.attempt_id
  JOIN attempts a ON a.id = x.attempt_id AND a.phase <> 'ended'
  JOIN deployments d ON d.id = a.deployment_id
  JOIN job_secrets s ON s.job_id = d.job_id AND s.version = d.secrets_version
  WHERE o.instance_id = $1 AND o.number = $2`);
