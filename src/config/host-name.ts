/** As nginx passes a host name on: in lower case, without a port and without a dot at the end. */
export const HOST_NAME = /^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?(\.[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)*$/;

/** Browsers read a name whose last label is a number as an IPv4 address. */
const ENDS_IN_A_NUMBER = /(^|\.)(\d+|0x[0-9a-f]*)$/;

/** Whether text is the name of a host, as one is written here, and no address. */
export function isHostName(text: string): boolean {
  return text.length <= 253 && HOST_NAME.test(text) && !ENDS_IN_A_NUMBER.test(text);
}

/** Whether a host is this domain, or below it. */
export function isWithin(host: string, domain: string): boolean {
  return host === domain || host.endsWith(`.${domain}`);
}

/** Which hosts jobs may have beside their names. */
export type HostRules = {
  /** JOBS_HOSTS: these, and all names below them. */
  readonly domains: readonly string[];
  /** Hosts of PUBLIC_URL and AGENT_URL, which lead to the API. */
  readonly reserved: readonly string[];
};
