export type LogOptions = { stdout: boolean; stderr: boolean; timestamps: boolean; tail: number };

/** The newest lines of one container, answered the way Docker's logs endpoint frames them. */
export class ContainerLogs {
  readonly #lines: { stream: 'stdout' | 'stderr'; time: string; text: string }[] = [];

  add(stream: 'stdout' | 'stderr', text: string): void {
    this.#lines.push({ stream, time: `${new Date().toISOString().slice(0, -1)}000000Z`, text });
    // LogConfig bounds the real one; here a crashing container must not fill the memory.
    if (this.#lines.length > 1000) this.#lines.splice(0, 500);
  }

  frames({ stdout, stderr, timestamps, tail }: LogOptions): Buffer {
    const wanted = this.#lines.filter(({ stream }) => (stream === 'stdout' ? stdout : stderr));
    return Buffer.concat(
      wanted.slice(Math.max(0, wanted.length - tail)).map(({ stream, time, text }) => {
        const payload = Buffer.from(`${timestamps ? `${time} ` : ''}${text}\n`);
        const header = Buffer.from([stream === 'stdout' ? 1 : 2, 0, 0, 0, 0, 0, 0, 0]);
        header.writeUInt32BE(payload.length, 4);
        return Buffer.concat([header, payload]);
      }),
    );
  }
}
