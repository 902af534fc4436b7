import { CloudError } from './errors.ts';
import type { Market } from './instance.ts';

/** A launch in one offer: EC2 runs out of capacity by type, zone and market. */
export type Offer = {
  readonly type: string;
  readonly subnet: string;
  readonly zone: string;
  readonly market: Market;
};

/** What is left out matches everything. `subnet` is a subnet id or a zone name. */
export type OfferMatch = { readonly type?: string; readonly subnet?: string; readonly market?: Market };

/** Unlimited until a pool is set. Instances hold a place from their launch until they are stopped or terminated. */
export type Capacity = {
  /** `free` more launches fit; Infinity takes the limit away. */
  set(match: OfferMatch, free: number): void;
  free(offer: Offer): number;
  take(offer: Offer, holder: string): void;
  giveBack(holder: string): void;
};

export function createCapacity(): Capacity {
  const pools = new Map<string, { match: OfferMatch; free: number; holders: Set<string> }>();
  const matching = (offer: Offer) => [...pools.values()].filter(({ match }) => matches(match, offer));
  return {
    set: (match, free) => {
      const key = [match.type, match.subnet, match.market].join('/');
      if (free === Infinity) pools.delete(key);
      else pools.set(key, { match, free, holders: new Set() });
    },
    free: (offer) => Math.min(Infinity, ...matching(offer).map((pool) => pool.free)),
    take: (offer, holder) => {
      for (const pool of matching(offer)) {
        pool.free -= 1;
        pool.holders.add(holder);
      }
    },
    giveBack: (holder) => {
      for (const pool of pools.values()) if (pool.holders.delete(holder)) pool.free += 1;
    },
  };
}

/** EC2's words, with the zones that do have capacity, because callers are tempted to parse them. */
export function insufficientCapacity(offer: Offer, others: readonly string[]): CloudError {
  const hint =
    others.length === 0
      ? ''
      : ` You can currently get ${offer.type} capacity by not specifying an Availability Zone in your request or choosing ${others.join(', ')}.`;
  const message = `We currently do not have sufficient ${offer.type} capacity in the Availability Zone you requested (${offer.zone}). Our system will be working on provisioning additional capacity.${hint}`;
  return new CloudError('InsufficientInstanceCapacity', message);
}

function matches(match: OfferMatch, offer: Offer): boolean {
  return (
    (match.type === undefined || match.type === offer.type) &&
    (match.subnet === undefined || match.subnet === offer.subnet || match.subnet === offer.zone) &&
    (match.market === undefined || match.market === offer.market)
  );
}
