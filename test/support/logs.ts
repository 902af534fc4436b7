/** A frame of Docker's multiplexed stream. */
export function frame(stream: 0 | 1 | 2 | 3, payload: string | Uint8Array): Buffer {
  const bytes = Buffer.from(payload as string);
  const header = Buffer.from([stream, 0, 0, 0, 0, 0, 0, 0]);
  header.writeUInt32BE(bytes.length, 4);
  return Buffer.concat([header, bytes]);
}

/** As Docker writes it: so many seconds and nanoseconds after 2026-01-05T10:00:00Z. */
export function stampedAt(seconds: number, nanoseconds = 0): string {
  const time = new Date(Date.UTC(2026, 0, 5, 10) + seconds * 1000).toISOString().slice(0, 19);
  return `${time}.${String(nanoseconds).padStart(9, '0')}Z`;
}
