/** What the API has an agent do; the endpoint turns it into headers and a body the agent never parses. */
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
      /** Of the body; default: application/json. */
      contentType?: string;
      /**
       * Never carried out twice: an agent that was restarted meanwhile answers 0, `unknown: …`. Agents before version 3
       * do not know it and repeat.
       */
      once?: boolean;
      /** Only the last bytes of Docker's answer are sent back. */
      maxBytes?: number;
      /**
       * What is added when an agent gets it, and not stored with it: to the container's Env the secrets of its
       * deployment; to a pull the credentials of its registry, if there are any.
       */
      fill?: 'secrets' | 'registry';
    }
  | {
      kind: 'probe';
      url: string;
      intervalSeconds: number;
      timeoutSeconds: number;
      retries: number;
      startPeriodSeconds: number;
    }
  /** Arms the dead-man switch again, 0 turns it off; `renews`: each later answer of the API restarts it. */
  | { kind: 'dead-man'; minutes: number; renews?: boolean }
  /**
   * Docker's log stream of the container, in segments. `follow`: until another order of this kind replaces it; answered
   * only when Docker refuses. Else until the stream ends; answered 200 once all of it is stored, or 0 in time.
   */
  | { kind: 'logs'; follow: boolean; timeoutSeconds: number }
  /**
   * A stream of Docker for a `GET`, lines of JSON with a `timeNano` each, in segments, like `/events`. It must accept
   * `since`. The newest order of a name replaces the one before; answered as `logs` are. Agents since version 3.
   */
  | { kind: 'stream'; name: string; path: string; follow: boolean; timeoutSeconds: number }
  | { kind: 'shutdown' }
  | { kind: 'watch-spot' };

export type DockerOrderSpec = Extract<OrderSpec, { kind: 'docker' }>;

/** What is added to an order when an agent gets it. */
export type OrderFilling = {
  /** `NAME=value`, added to the container's Env. */
  readonly env?: readonly string[];
  /** For Docker's X-Registry-Auth; undefined = its registry needs none. */
  readonly registryAuth?: string | undefined;
};
