/**
 * What happens inside an instance, as seen by the local cloud. The cloud keeps states, addresses, metadata and the
 * ledger; the runtime runs the guest (a child process and real containers, or an in-process agent).
 */
export type InstanceRuntime = {
  /** Once, before the cloud answers its first call: the place to remove what a killed earlier run left behind. */
  open?(cloud: CloudIdentity): Promise<void>;

  /**
   * The instance has just become `running`. Called again after a reboot, with `isFirstBoot` false:
   * the disk is still there and, as cloud-init does, user-data runs on the first boot only (services it installed start again).
   * Resolves when the guest has been started, not when it ends. A rejection is a failed host: the cloud ends the
   * instance (`terminated`, Server.InternalError). At most one boot per instance is ever alive.
   */
  boot(instance: BootedInstance): Promise<void>;

  /**
   * Ends the guest. Idempotent, and right also for an id that never booted. After it resolved nothing of that boot runs or listens.
   * - `terminate`: orderly; processes and containers get a short grace, then the disk (state folder, containers) is removed
   * - `stop`, `reboot`: orderly; the disk stays; after a reboot a boot with `isFirstBoot: false` follows
   * - `kill`: as a host failure: at once, no grace, no notice; the disk is removed
   * The cloud waits 15 s at most, then goes on to the next state without it.
   */
  halt(id: string, how: HaltReason): Promise<void>;

  /** Fault injection: the guest stops making progress but keeps its address and its open connections, until `thaw`. */
  freeze?(id: string): Promise<void>;
  thaw?(id: string): Promise<void>;

  /** Fault injection: something inside a booted guest goes wrong. Does nothing for an id that is not booted. */
  disturb?(id: string, disturbance: Disturbance): Promise<void>;

  /** Once, after every instance was halted, when the cloud stops. */
  close?(): Promise<void>;
};

/**
 * - `kill-agent`: kill -9 of the agent, which its service manager starts again
 * - `break-docker`, `mend-docker`: the Docker Engine does not answer, and does again; containers run on
 * - `exhaust-memory`: the kernel kills the container's process for want of memory
 * - `fail-program`: the container's program ends by itself, with code 3
 * - `cut-off`, `reconnect`: no packet gets through between the agent and the scheduler, and does again
 * - `lose-answers`: the agent's next requests arrive, the answers do not
 * - `repeat-requests`: the agent's next requests arrive twice
 */
export type Disturbance =
  | 'kill-agent'
  | 'break-docker'
  | 'mend-docker'
  | 'exhaust-memory'
  | 'fail-program'
  | 'cut-off'
  | 'reconnect'
  | 'lose-answers'
  | 'repeat-requests';

export type HaltReason = 'terminate' | 'stop' | 'reboot' | 'kill';

export type CloudIdentity = {
  /** Stable between runs that share a state folder, else derived from the port. Safe in names and labels: [a-z0-9-]. */
  readonly id: string;
  readonly port: number;
  /** http://127.0.0.1:port */
  readonly endpoint: string;
};

/** One boot of one instance. */
export type BootedInstance = {
  readonly id: string;
  /** The instance's own loopback address 127.x.y.z; only the metadata service binds there too, on the cloud's port. */
  readonly privateIp: string;
  /** Reaches the instance like privateIp does; undefined when none was requested. */
  readonly publicIp: string | undefined;
  readonly imageId: string;
  readonly instanceType: string;
  readonly availabilityZone: string;
  /** Decoded from base64 and unpacked, as by cloud-init; '' when none was given. */
  readonly userData: string;
  readonly isFirstBoot: boolean;
  /** No trailing slash: `PUT ${metadataEndpoint}/latest/api/token`. Answers for this instance only. */
  readonly metadataEndpoint: string;
  /** Aborted just before `halt` is called for this boot. */
  readonly signal: AbortSignal;
  readonly guest: Guest;
};

/** What the guest can do to its own virtual machine. Calls after the boot ended are ignored. */
export type Guest = {
  /**
   * The guest's operating system powered itself off or restarted (`shutdown -h now`, an expired dead-man timer). Returns at once; the cloud then
   * calls `halt` with 'reboot', or with 'terminate' or 'stop' as InstanceInitiatedShutdownBehavior says, also when the guest has already ended.
   */
  shutdown(how: 'halt' | 'reboot'): void;
  /** Appends to what GetConsoleOutput returns (the last 64 KiB are kept). */
  console(text: string): void;
};
