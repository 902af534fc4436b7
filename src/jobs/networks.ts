import { isIP } from 'node:net';
import ipaddr from 'ipaddr.js';
import { type Address, isIn } from '../http/network.js';

// Networks from which a job may be called (`route.allow`): what may be written there, and whom it lets in.

/** What is wrong with a network as text; undefined: nothing. One network has one text, so that no reader misreads it. */
export function faultOfNetwork(text: string): string | undefined {
  const [address = ''] = text.split('/', 1);
  if (isIP(address) === 0 || !ipaddr.isValidCIDR(text)) {
    return 'must be a network like 10.0.0.0/8 or 2001:db8::/32; one address is 203.0.113.7/32';
  }
  const [start, bits] = ipaddr.parseCIDR(text);
  if (start instanceof ipaddr.IPv6 && start.isIPv4MappedAddress()) {
    return 'must be written as a network of IPv4: an IPv4 address that IPv6 carries counts as IPv4';
  }
  const kind = start instanceof ipaddr.IPv4 ? ipaddr.IPv4 : ipaddr.IPv6;
  const canonical = `${kind.networkAddressFromCIDR(text).toString()}/${bits}`;
  return text === canonical ? undefined : `must be written as ${canonical}`;
}

/** Whether text is an address as nginx and Node write one. */
export function isAddress(text: string): boolean {
  return parse(text) !== undefined;
}

/**
 * Whether a caller with this address may call a job. @param allow networks that `faultOfNetwork` finds nothing wrong with;
 * none: every caller may. @param address of the connection, or what a trusted proxy wrote; anything else is let in nowhere
 */
export function mayCall(address: string, allow: readonly string[]): boolean {
  if (allow.length === 0) return true;
  const caller = parse(address);
  if (caller === undefined) return false;
  return allow.some((text) => isIn(caller, ipaddr.parseCIDR(text)));
}

/** An IPv4 address that IPv6 carries is that IPv4 address. */
function parse(text: string): Address | undefined {
  // `::1.2.3.4` is another address than `::ffff:1.2.3.4`; ipaddr.js takes both for 1.2.3.4.
  if (isIP(text) === 0 || (text.includes('.') && text.includes(':') && !MAPPED.test(text))) return undefined;
  return ipaddr.process(text);
}

const MAPPED = /^::ffff:[\d.]+$/i;
