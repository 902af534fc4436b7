import ipaddr from 'ipaddr.js';
import { type Address, isIn, type Network } from '../http/network.js';

/** What an operator allows in addition to public addresses: networks, and host names wherever they lead. */
export type Allowed = {
  readonly networks: readonly Network[];
  readonly hosts: ReadonlySet<string>;
};

/** RFC 4291: all that is globally routed, for now. Outside it there are forms no list of ranges names, as `::127.0.0.1`. */
const GLOBAL_UNICAST = ipaddr.IPv6.parseCIDR('2000::/3');

/** @param entries networks, addresses and host names, as the settings have checked them */
export function parseAllowed(entries: readonly string[]): Allowed {
  const networks = entries.map(networkOf).filter((network) => network !== undefined);
  const hosts = entries.filter((entry) => networkOf(entry) === undefined).map(plainHost);
  return { networks, hosts: new Set(hosts) };
}

/** What is wrong with the URL of a webhook before any name is looked up; undefined: nothing. */
export function faultOfUrl(text: string, allowed: Allowed): string | undefined {
  const url = URL.parse(text);
  if (url === null || (url.protocol !== 'https:' && url.protocol !== 'http:')) return 'must be a URL with https://';
  if (url.username !== '' || url.password !== '') return 'must not hold a user or a password';
  if (url.hash !== '') return 'must not have a fragment';
  const host = plainHost(url.hostname);
  if (ipaddr.isValid(host)) return mayReach(url, [host], allowed) ? undefined : REFUSED;
  if (allowed.hosts.has(host)) return undefined;
  // Whether a name leads into an allowed network is seen at each delivery.
  if (url.protocol === 'http:' && allowed.networks.length === 0) return 'must begin with https://';
  const isLoopback = host === 'localhost' || host.endsWith('.localhost');
  return isLoopback && allowed.networks.length === 0 ? REFUSED : undefined;
}

/**
 * Whether `url` may be called at these addresses, which its host was resolved to. One forbidden address excludes them
 * all: a public name should not lead to a private address.
 */
export function mayReach(url: URL, addresses: readonly string[], allowed: Allowed): boolean {
  if (addresses.length === 0) return false;
  if (allowed.hosts.has(plainHost(url.hostname))) return true;
  return addresses.every((text) => {
    const address = parse(text);
    if (address === undefined) return false;
    if (allowed.networks.some((network) => isIn(address, network))) return true;
    return url.protocol === 'https:' && isPublic(address);
  });
}

/** As DNS and lists of hosts write it: lower case, without the brackets of IPv6 and without the root's dot. */
export function plainHost(hostname: string): string {
  return hostname
    .toLowerCase()
    .replace(/^\[(.*)\]$/, '$1')
    .replace(/\.$/, '');
}

const REFUSED = 'must not lead to a loopback, private, link-local or otherwise special address';

/** Everything that is not known to be public is not: tunnels and translations (6to4, Teredo, NAT64) lead anywhere. */
function isPublic(address: Address): boolean {
  if (address.range() !== 'unicast') return false;
  return address instanceof ipaddr.IPv4 || address.match(GLOBAL_UNICAST);
}

/** An IPv4-mapped IPv6 address is treated as its IPv4 address. */
function parse(text: string): Address | undefined {
  return ipaddr.isValid(text) ? ipaddr.process(text) : undefined;
}

function networkOf(entry: string): Network | undefined {
  if (ipaddr.isValidCIDR(entry)) return ipaddr.parseCIDR(entry);
  const address = parse(entry);
  return address && [address, address instanceof ipaddr.IPv4 ? 32 : 128];
}
