/** A snapshot of a volume, without its content. */
export type CloudSnapshot = {
  readonly id: string;
  readonly sequence: number;
  readonly volumeId: string;
  readonly sizeGiB: number;
  readonly description: string;
  readonly startedAt: string;
  readonly takesMs: number;
  /** What becomes of it; `pending`: it hangs. */
  readonly end: SnapshotState;
};
export type SnapshotState = 'pending' | 'completed' | 'error';

export const SNAPSHOT_STATES: readonly SnapshotState[] = ['pending', 'completed', 'error'];

export function stateOf({ startedAt, takesMs, end }: CloudSnapshot): SnapshotState {
  return Date.now() < Date.parse(startedAt) + takesMs ? 'pending' : end;
}

export function isCompleted(snapshot: CloudSnapshot): boolean {
  return stateOf(snapshot) === 'completed';
}
