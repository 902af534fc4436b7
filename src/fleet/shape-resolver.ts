import { AwsError } from '../aws/aws-error.js';
import type { CallBudget } from '../aws/call-budget.js';
import type { Ec2, ImageQuery } from '../aws/ec2.js';
import type { Ami } from '../aws/ec2-types.js';
import { type Architecture, architectureOf } from '../deployments/architecture.js';
import type { ShapeSpec } from '../deployments/shape-spec.js';
import type { Obstacle } from './plan/plan-fleet.js';

export type ShapeResolverOptions = {
  readonly ec2: Ec2;
  readonly budget: CallBudget;
  readonly defaultAmi: string;
  readonly allowedSubnets: readonly string[];
  readonly allowedSecurityGroups: readonly string[];
  readonly allowedProfiles: readonly string[];
  readonly now?: () => number;
};

export type Resolution =
  | {
      readonly obstacle: null;
      /** By type; a type without an AMI is left out, and there is one at least. */
      readonly amis: ReadonlyMap<string, Ami>;
      readonly subnetIds: readonly string[];
      /** None = the VPC's default group. */
      readonly securityGroupIds: readonly string[];
    }
  | { readonly obstacle: Obstacle; readonly amis: ReadonlyMap<string, never>; readonly subnetIds: readonly [] };

/** Amazon publishes a new image every week or two; a look-up for each launch would cost every launch 100 ms. */
const FRESH_MS = 3_600_000;
/** A call without an answer takes 30 s: if each shape of a pass repeated it, one pass would take hours. */
const FAILED_MS = 5_000;
/** A refusal is immediate, and ends deployments: it must be EC2's latest answer, but not cost a call per shape. */
const REFUSED_MS = 1_000;
/** The longer pause when there is an old answer to use meanwhile. */
const STALE_MS = 60_000;
/** EC2's own limit for a network interface, unless it was raised for the account. */
const MOST_SECURITY_GROUPS = 5;

/** The second dates from before the first followed the type's architecture; it stays for jobs that name it. */
const ALIASES: Readonly<Record<string, (type: Architecture) => ImageQuery>> = {
  'ecs-al2023': (architecture) => ({ name: 'al2023-ami-ecs-hvm-2023*', architecture }),
  'ecs-al2023-arm64': () => ({ name: 'al2023-ami-ecs-hvm-2023*', architecture: 'arm64' }),
};

/** Resolves a shape's wishes to ids: an image alias, the default VPC's subnets. Caches answers for an hour. */
export class ShapeResolver {
  readonly #known = new Map<string, { readonly value: readonly unknown[]; readonly at: number }>();
  readonly #failed = new Map<string, { readonly error: AwsError; readonly at: number }>();
  readonly #now: () => number;

  constructor(private readonly options: ShapeResolverOptions) {
    this.#now = options.now ?? (() => performance.now());
  }

  async resolve(spec: ShapeSpec): Promise<Resolution> {
    const forbidden = findForbidden(spec, this.options);
    if (forbidden) return blocked(forbidden);
    try {
      const { amis, missing } = await this.#amis(spec);
      if (missing && amis.size === 0) return blocked(missing);
      const subnetIds = await this.#subnetIds(spec);
      if (subnetIds.length === 0) {
        const message = 'the region has no default subnets: name subnets, or set ALLOWED_SUBNETS';
        return blocked({ reason: 'no-subnet', message, isFinal: true });
      }
      return { obstacle: null, amis, subnetIds, securityGroupIds: this.#securityGroupIds(spec) };
    } catch (error) {
      return blocked(toObstacle(error));
    }
  }

  /** The AMI of each type, and why others have none. A fault of one architecture's AMI does not affect the other's. */
  async #amis(spec: ShapeSpec): Promise<{ amis: ReadonlyMap<string, Ami>; missing: Obstacle | null }> {
    const amis = new Map<string, Ami>();
    let missing: Obstacle | null = null;
    for (const [architecture, types] of Map.groupBy(spec.types, architectureOf)) {
      const found = await this.#amiFor(spec, architecture).catch(toObstacle);
      const ami = ('id' in found ? diskFaultOf(spec, found) : null) ?? found;
      if ('id' in ami) for (const type of types) amis.set(type, ami);
      // An obstacle that may pass is waited for, whatever other types are refused for.
      else if (!missing || (missing.isFinal && !ami.isFinal)) missing = ami;
    }
    return { amis, missing };
  }

  async #amiFor({ imageId, unpinnedImageId }: ShapeSpec, architecture: Architecture): Promise<Ami | Obstacle> {
    const { defaultAmi } = this.options;
    const ami = await this.#ami(imageId ?? defaultAmi, architecture);
    const isOther = 'id' in ami && ami.architecture !== null && ami.architecture !== architecture;
    return isOther && unpinnedImageId !== undefined ? this.#ami(unpinnedImageId ?? defaultAmi, architecture) : ami;
  }

  /** An id is looked up, too: its root device has a name of its own. */
  async #ami(name: string, architecture: Architecture): Promise<Ami | Obstacle> {
    const { ec2 } = this.options;
    const alias = ALIASES[name]?.(architecture);
    const key = alias ? `${alias.name} ${alias.architecture}` : name;
    const [ami] = await this.#remember(key, 'DescribeImages', async () => {
      const found = await (alias ? ec2.findImage(alias) : ec2.describeImage(name));
      return found === null ? [] : [found];
    });
    if (ami) return ami;
    const message = alias
      ? `Amazon offers no image of that kind for ${alias.architecture} here`
      : `${name} does not exist here`;
    return { reason: 'image-not-found', message, isFinal: true };
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

  async #remember<T>(
    key: string,
    action: 'DescribeImages' | 'DescribeSubnets',
    ask: () => Promise<readonly T[]>,
  ): Promise<readonly T[]> {
    const known = this.#known.get(key) as { readonly value: readonly T[]; readonly at: number } | undefined;
    if (known && this.#now() - known.at < FRESH_MS) return known.value;
    const failed = this.#failed.get(key);
    try {
      if (failed && this.#now() - failed.at < pauseAfter(failed.error, known !== undefined)) throw failed.error;
      return await this.#ask(key, action, ask);
    } catch (error) {
      // An image an hour old is better than no launch.
      if (known) return known.value;
      throw error;
    }
  }

  async #ask<T>(
    key: string,
    action: 'DescribeImages' | 'DescribeSubnets',
    ask: () => Promise<readonly T[]>,
  ): Promise<readonly T[]> {
    const { budget } = this.options;
    if (budget.take(action) > 0) {
      const message = 'our share of EC2’s quota is used up';
      throw new AwsError({ action, code: 'OwnBudget', kind: 'throttled', reason: 'quota-share-spent', message });
    }
    try {
      const value = await ask();
      // An empty answer is not cached: an operator may change it any minute.
      if (value.length > 0) this.#known.set(key, { value, at: this.#now() });
      return value;
    } catch (error) {
      if (!(error instanceof AwsError)) throw error;
      budget.recordFailure(error);
      this.#failed.set(key, { error, at: this.#now() });
      throw error;
    }
  }
}

/** HTTP rejects this as well; but the lists may have become shorter since. */
function findForbidden(spec: ShapeSpec, options: ShapeResolverOptions): Obstacle | null {
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

/** EC2's own refusal mentions only snapshots; a disk raised silently would cost money that the job did not ask for. */
function diskFaultOf({ diskGiB }: ShapeSpec, { id, rootGiB }: Ami): Obstacle | null {
  if (rootGiB === undefined || diskGiB >= rootGiB) return null;
  const message = `instance.diskGiB is ${diskGiB}, and must be at least ${rootGiB}, the size of the root disk of ${id}`;
  return { reason: 'disk-too-small', message, isFinal: true };
}

function pauseAfter(error: AwsError, isKnown: boolean): number {
  if (isKnown) return STALE_MS;
  return isRefusal(error) ? REFUSED_MS : FAILED_MS;
}

/** @throws errors that are not AWS's */
function toObstacle(error: unknown): Obstacle {
  if (!(error instanceof AwsError)) throw error;
  const { reason, message } = error;
  return { reason, message, isFinal: isRefusal(error) };
}

function isRefusal({ kind }: AwsError): boolean {
  return kind === 'permission' || kind === 'invalid';
}

function blocked(obstacle: Obstacle): Resolution {
  return { obstacle, amis: new Map<string, never>(), subnetIds: [] };
}
