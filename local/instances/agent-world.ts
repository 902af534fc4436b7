import type { Gate } from './gate.ts';
import type { EngineAnswer, EngineRequest } from './simulated-engine.ts';
import type { Uplink } from './uplink.ts';

/** What the real agent keeps in its state folder: it outlives a reboot, not the instance. */
export type AgentDisk = {
  token?: string;
  isRegistered: boolean;
  after: number;
  deadMan?: { minutes: number; deadline: number };
  /** Any answer of the scheduler starts the dead-man switch over. */
  renews: boolean;
  probe?: number;
  /** Number of the newest order of each stream: `logs`, `stream-<name>`. */
  readonly streams: Map<string, number>;
  readonly orders: Map<number, Order>;
};

export type Order = {
  readonly number: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer;
  /** Of a stream: where its next segment begins. */
  since?: string;
  /** Of one to be carried out once: it may have been. */
  hasBegun?: boolean;
  result?: { headers: Record<string, string>; body: Buffer };
};

export type AgentWorld = {
  readonly apiUrl: string;
  /** `sha256//<base64>=` of the keys that may answer there; none: any that a certificate authority vouches for. */
  readonly pins: readonly string[];
  readonly launchSecret: string;
  readonly metadataEndpoint: string;
  readonly disk: AgentDisk;
  readonly gate: Gate;
  readonly uplink: Uplink;
  engine: (request: EngineRequest) => Promise<EngineAnswer>;
  /** Where a published port of the container is really reached. */
  portOf: (host: number) => number;
  /** The machine's `shutdown` command. */
  shutdown: (...args: string[]) => void;
  say: (text: string) => void;
  /** Delays an order before the agent handles it. */
  beforeOrder?: () => Promise<void>;
  readonly signal: AbortSignal;
};

export function newDisk(): AgentDisk {
  return { isRegistered: false, renews: false, after: 0, streams: new Map(), orders: new Map() };
}
