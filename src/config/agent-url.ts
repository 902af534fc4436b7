/** A shell script on each instance has it: no user, query, fragment, escapes or space. */
export const AGENT_URL =
  /^https?:\/\/(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:]+\])(?::\d{1,5})?(?:\/[A-Za-z0-9._~/-]{0,255})?$/;

/** Pin of the TLS key for agents, as curl's --pinnedpubkey accepts it. */
export const AGENT_PIN = /^sha256\/\/[A-Za-z0-9+/]{43}=$/;
