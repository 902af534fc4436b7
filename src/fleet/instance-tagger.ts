import { AwsError } from '../aws/aws-error.js';
import type { CallBudget } from '../aws/call-budget.js';
import type { Ec2 } from '../aws/ec2.js';
import type { Database } from '../database/database.js';
import { statement, t } from '../database/statement.js';
import type { Log } from '../process/log.js';
import type { OwnerLease } from '../ownership/owner-lease.js';

export type InstanceTaggerOptions = {
  readonly database: Database;
  readonly ec2: Ec2;
  readonly lease: OwnerLease;
  readonly budget: CallBudget;
  readonly log: Log;
};

/** Names in the EC2 console help people; in a longer line they would be written too late to help. */
const MOST_WAITING = 2_000;
const LONGEST_PAUSE_MS = 60_000;

/** Best effort: tags the instance with its job. Nothing reads these tags, so a failure is only logged. */
export class InstanceTagger {
  #waiting: string[] = [];

  constructor(private readonly options: InstanceTaggerOptions) {}

  add(instanceIds: readonly string[]): void {
    this.#waiting = [...this.#waiting, ...instanceIds].slice(-MOST_WAITING);
  }

  /** @returns milliseconds until the next run */
  async run(): Promise<number> {
    const { database, budget, lease, ec2, log } = this.options;
    while (lease.isHeld) {
      const [instanceId] = this.#waiting;
      if (instanceId === undefined) return LONGEST_PAUSE_MS;
      const waitMs = budget.take('CreateTags');
      if (waitMs > 0) return waitMs;
      this.#waiting.shift();
      const [owner] = await database.run(OWNER_OF, [instanceId]);
      if (!owner) continue;
      try {
        await ec2.createTags(
          [instanceId],
          [
            { Key: 'Name', Value: `${lease.cluster}/${owner.job}` },
            { Key: 'scheduler-api:job', Value: owner.job },
            { Key: 'scheduler-api:deployment', Value: String(owner.deployment) },
          ],
        );
      } catch (error) {
        if (!(error instanceof AwsError)) throw error;
        budget.recordFailure(error);
        log.warn('instance was not tagged', { instanceId, reason: error.reason, message: error.message });
      }
    }
    return LONGEST_PAUSE_MS;
  }
}

const OWNER_OF = statement('fleet-owner-of', { values: [t.text], row: { job: t.text, deployment: t.int } })(`
  SELECT j.name AS job, d.number AS deployment
  FROM assignments s
  JOIN attempts a ON a.id = s.attempt_id
  JOIN deployments d ON d.id = a.deployment_id
  JOIN jobs j ON j.id = a.job_id
  WHERE s.instance_id = $1`);
