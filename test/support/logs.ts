import { request } from 'node:http';

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

export type Upload = {
  write(...frames: readonly Buffer[]): void;
  /** @returns status, and where the next upload is to begin */
  end(): Promise<{ status: number; since: string | undefined }>;
  /** As a killed agent does. */
  breakOff(): void;
};

/** An upload of an agent, as long as it takes. */
export function openUpload(apiUrl: string, token: string, order: number, since = '0'): Upload {
  const outgoing = request(`${apiUrl}/agent/v1/orders/${order}/logs?since=${since}`, {
    method: 'POST',
    headers: { authorization: `Bearer ${token}`, 'content-type': 'application/vnd.docker.multiplexed-stream' },
  });
  const answer = new Promise<{ status: number; since: string | undefined }>((done, fail) => {
    outgoing.once('error', fail).once('response', (response) => {
      response.resume().once('end', () => {
        done({ status: response.statusCode ?? 0, since: response.headers['logs-since'] as string | undefined });
      });
    });
  });
  answer.catch(() => undefined);
  outgoing.flushHeaders();
  return {
    write: (...frames) => void outgoing.write(Buffer.concat(frames)),
    end: async () => {
      outgoing.end();
      return await answer;
    },
    breakOff: () => void outgoing.destroy(),
  };
}
