/** Time of a history, and what is on its way in it: an answer, a boot, the next try of an agent. */
export class Timeline {
  nowMs = Date.parse('2026-01-01T00:00:00Z');
  private readonly coming: { atMs: number; place: number; happen: () => void }[] = [];
  private places = 0;
  private cached = new Date(this.nowMs);

  get now(): Date {
    if (this.cached.getTime() !== this.nowMs) this.cached = new Date(this.nowMs);
    return this.cached;
  }

  /** Of entries at the same time the one that was added first comes first. */
  after(ms: number, happen: () => void): void {
    const entry = { atMs: this.nowMs + ms, place: this.places++, happen };
    let index = this.coming.length;
    while (index > 0 && (this.coming[index - 1]?.atMs ?? 0) > entry.atMs) index -= 1;
    this.coming.splice(index, 0, entry);
  }

  get nextMs(): number {
    return this.coming[0]?.atMs ?? Infinity;
  }

  happenNext(): void {
    const next = this.coming.shift();
    if (!next) return;
    this.nowMs = Math.max(this.nowMs, next.atMs);
    next.happen();
  }
}
