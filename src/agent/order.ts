/** What an agent is told to do; the endpoint turns it into headers and a body the agent never parses. */
export type OrderSpec =
  | {
      kind: 'docker';
      mode: 'foreground' | 'background';
      method: 'GET' | 'POST' | 'DELETE';
      /** Unversioned, percent-encoded. */
      path: string;
      /** Docker Engine API JSON; absent = no body. */
      body?: unknown;
      timeoutSeconds: number;
      /** Only the last bytes of Docker's answer are sent back. */
      maxBytes?: number;
    }
  | {
      kind: 'probe';
      url: string;
      intervalSeconds: number;
      timeoutSeconds: number;
      retries: number;
      startPeriodSeconds: number;
    }
  /** Arms the dead-man switch anew, 0 turns it off; `renews`: each later answer of ours starts it over. */
  | { kind: 'dead-man'; minutes: number; renews?: boolean }
  | { kind: 'shutdown' }
  | { kind: 'watch-spot' };
