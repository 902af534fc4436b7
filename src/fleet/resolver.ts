import { AwsError } from '../aws/aws-error.js';
import type { CallBudget } from '../aws/call-budget.js';
import type { Ec2 } from '../aws/ec2.js';
import type { ShapeSpec } from '../deployments/shape-spec.js';
import type { Obstacle } from './plan-fleet.js';

export type ResolverOptions = {
  readonly ec2: Ec2;
  readonly budget: CallBudget;
  readonly defaultImageId: string;
  readonly allowedSubnets: readonly string[];
  readonly allowedSecurityGroups: readonly string[];
  readonly allowedProfiles: readonly string[];
  readonly now?: () => number;
};

export type Resolution =
  | {
      readonly obstacle: null;
      readonly imageId: string;
      readonly subnetIds: readonly string[];
      /** None = the VPC's default group. */
      readonly securityGroupIds: readonly string[];
    }
  | { readonly obstacle: Obstacle; readonly imageId: null; readonly subnetIds: readonly [] };

/** Amazon publishes a new image every week or two; a look-up for each launch would cost every launch 100 ms. */
const FRESH_MS = 3_600_000;
/** A call that goes unanswered takes 30 s: were each shape of a pass to ask again, one pass would take hours. */
const FAILED_MS = 5_000;
/** So much longer when there is an old answer to go on with. */
const STALE_MS = 60_000;
/** EC2's own limit for a network interface, unless somebody had it raised. */
const MOST_SECURITY_GROUPS = 5;

const ALIASES: Readonly<Record<string, { name: string; architecture: 'x86_64' | 'arm64' }>> = {
  'ecs-al2023': { name: 'al2023-ami-ecs-hvm-2023*', architecture: 'x86_64' },
  'ecs-al2023-arm64': { name: 'al2023-ami-ecs-hvm-2023*', architecture: 'arm64' },
};

/** Turns a shape's wishes into ids RunInstances takes: an image alias, the default VPC's subnets. Remembers answers for an hour. */
export class Resolver {
  readonly #known = new Map<string, { readonly value: readonly string[]; readonly at: number }>();
  readonly #failed = new Map<string, { readonly error: AwsError; readonly at: number }>();
  readonly #now: () => number;

  constructor(private readonly options: ResolverOptions) {
    this.#now = options.now ?? (() => performance.now());
  }

  async resolve(spec: ShapeSpec): Promise<Resolution> {
    const forbidden = findForbidden(spec, this.options);
    if (forbidden) return blocked(forbidden);
    try {
      const imageId = await this.#imageId(spec.imageId ?? this.options.defaultImageId);
      if (imageId === undefined) {
        return blocked({
          reason: 'image-not-found',
          message: 'Amazon offers no image of that kind here',
          isFinal: true,
        });
      }
      const subnetIds = await this.#subnetIds(spec);
      if (subnetIds.length === 0) {
        const message = 'the region has no default subnets: name subnets, or set ALLOWED_SUBNETS';
        return blocked({ reason: 'no-subnet', message, isFinal: true });
      }
      return { obstacle: null, imageId, subnetIds, securityGroupIds: this.#securityGroupIds(spec) };
    } catch (error) {
      if (!(error instanceof AwsError)) throw error;
      const { reason, message } = error;
      return blocked({ reason, message, isFinal: isRefusal(error) });
    }
  }

  async #imageId(id: string): Promise<string | undefined> {
    const alias = ALIASES[id];
    if (!alias) return id;
    const [imageId] = await this.#remember(id, 'DescribeImages', async () => {
      const found = await this.options.ec2.findImage(alias);
      return found === null ? [] : [found];
    });
    return imageId;
  }

  async #subnetIds({ subnetIds }: ShapeSpec): Promise<readonly string[]> {
    if (subnetIds.length > 0) return subnetIds;
    if (this.options.allowedSubnets.length > 0) return this.options.allowedSubnets;
    return this.#remember('subnets', 'DescribeSubnets', () => this.options.ec2.findDefaultSubnets());
  }

  #securityGroupIds({ securityGroupIds }: ShapeSpec): readonly string[] {
    if (securityGroupIds.length > 0) return securityGroupIds;
    return this.options.allowedSecurityGroups.slice(0, MOST_SECURITY_GROUPS);
  }

  async #remember(
    key: string,
    action: 'DescribeImages' | 'DescribeSubnets',
    ask: () => Promise<readonly string[]>,
  ): Promise<readonly string[]> {
    const known = this.#known.get(key);
    if (known && this.#now() - known.at < FRESH_MS) return known.value;
    const failed = this.#failed.get(key);
    try {
      if (failed && this.#now() - failed.at < (known ? STALE_MS : FAILED_MS)) throw failed.error;
      return await this.#ask(key, action, ask);
    } catch (error) {
      // An image an hour old is better than no launch.
      if (known) return known.value;
      throw error;
    }
  }

  async #ask(
    key: string,
    action: 'DescribeImages' | 'DescribeSubnets',
    ask: () => Promise<readonly string[]>,
  ): Promise<readonly string[]> {
    const { budget } = this.options;
    if (budget.take(action) > 0) {
      const message = 'our share of EC2’s quota is used up';
      throw new AwsError({ action, code: 'OwnBudget', kind: 'throttled', reason: 'quota-share-spent', message });
    }
    try {
      const value = await ask();
      // Nothing found may be cured by an operator any minute.
      if (value.length > 0) this.#known.set(key, { value, at: this.#now() });
      return value;
    } catch (error) {
      if (!(error instanceof AwsError)) throw error;
      budget.hear(error);
      // A refusal comes at once, and ends deployments: it must be EC2's latest word.
      if (!isRefusal(error)) this.#failed.set(key, { error, at: this.#now() });
      throw error;
    }
  }
}

/** HTTP refuses this as well; but the lists may have become shorter since. */
function findForbidden(spec: ShapeSpec, options: ResolverOptions): Obstacle | null {
  const { allowedSubnets, allowedSecurityGroups, allowedProfiles } = options;
  const refuse = (what: string, setting: string, id: string): Obstacle => ({
    reason: `${what}-not-allowed`,
    message: `${id} is not in ${setting}`,
    isFinal: true,
  });
  const subnet = spec.subnetIds.find((id) => !allowedSubnets.includes(id));
  if (subnet !== undefined) return refuse('subnet', 'ALLOWED_SUBNETS', subnet);
  const group = spec.securityGroupIds.find((id) => !allowedSecurityGroups.includes(id));
  if (group !== undefined) return refuse('security-group', 'ALLOWED_SECURITY_GROUPS', group);
  const { profile } = spec;
  if (profile !== null && !allowedProfiles.includes(profile)) return refuse('profile', 'ALLOWED_PROFILES', profile);
  return null;
}

function isRefusal({ kind }: AwsError): boolean {
  return kind === 'permission' || kind === 'invalid';
}

function blocked(obstacle: Obstacle): Resolution {
  return { obstacle, imageId: null, subnetIds: [] };
}
