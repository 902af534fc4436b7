export type LogStream = 'stdout' | 'stderr';

/** The latest stored line of a stream: the `count`th that Docker stamped `at`. */
export type StoredPosition = {
  /** RFC 3339 with nine digits and Z. Never goes back, even when the instance's clock does. */
  readonly at: string;
  readonly count: number;
  /** Earliest stamp among those `count` lines: below `at` after the instance's clock was set back. */
  readonly low: string;
};

export type StoredPositions = { readonly [stream in LogStream]?: StoredPosition };
