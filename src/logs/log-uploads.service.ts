import { Injectable } from '@nestjs/common';
import { BrokenFrames } from '../agent/container-logs.js';
import { Database } from '../database/database.js';
import { Problem } from '../http/problem.js';
import { Shutdown } from '../process/shutdown.js';
import { LineWriter } from './line-writer.js';
import { LogUpload } from './log-upload.js';
import { findLogTarget } from './upload-statements.js';

/** Above the 8 MiB at which agents end an upload. */
const MAX_UPLOAD_BYTES = 8 * 1_048_576 + 131_072;

/** Takes in what containers print, as agents send it. */
@Injectable()
export class LogUploads {
  constructor(
    private readonly database: Database,
    private readonly writer: LineWriter,
    private readonly shutdown: Shutdown,
  ) {}

  /**
   * Stores lines as they come; a line that is cut off at the end is left to the next upload.
   * @param since where the upload begins, `<seconds>` or `<seconds>.<fraction>`
   * @returns where the next one is to begin, once all is stored
   * @throws Problem order-not-found, conflict, malformed-request, payload-too-large, shutting-down
   */
  async store(
    instanceId: string,
    orderNumber: number,
    since: string,
    body: AsyncIterable<Uint8Array>,
  ): Promise<string> {
    const target = await findLogTarget(this.database, instanceId, orderNumber);
    if (!target) throw new Problem('order-not-found', `There is no order ${orderNumber} for logs of this instance.`);
    if (target.isReplaced) throw new Problem('conflict', 'A newer order follows this log.');
    const upload = new LogUpload(target, since);
    let silentMs: number;
    try {
      silentMs = await this.#takeIn(upload, body);
    } finally {
      // Also of an upload that broke off: whole lines are worth keeping, and the next upload has less to send.
      await this.writer.flush(upload);
    }
    return upload.nextSince(silentMs);
  }

  /** @returns milliseconds of silence before its end */
  async #takeIn(upload: LogUpload, body: AsyncIterable<Uint8Array>): Promise<number> {
    let readAtMs = performance.now();
    for await (const bytes of readUntil(this.shutdown, body)) {
      try {
        upload.add(bytes);
      } catch (error) {
        if (error instanceof BrokenFrames)
          throw new Problem('malformed-request', `The log is broken: ${error.message}.`);
        throw error;
      }
      if (upload.bytes > MAX_UPLOAD_BYTES) throw new Problem('payload-too-large', 'An upload may have 8 MiB.');
      await this.writer.write(upload);
      // What waits for room is not silent.
      readAtMs = performance.now();
    }
    return performance.now() - readAtMs;
  }
}

/** Does not destroy `body` when it is left early, as a stream's own iterator would, and with it the connection. */
async function* readUntil(shutdown: Shutdown, body: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  const { promise: end, reject } = Promise.withResolvers<never>();
  end.catch(() => undefined);
  const leave = shutdown.onBegin(() =>
    reject(new Problem('shutting-down', 'Send it again.', { retryAfterSeconds: 1 })),
  );
  const iterator = body[Symbol.asyncIterator]();
  try {
    for (;;) {
      const next = await Promise.race([end, iterator.next().catch(brokeOff)]);
      if (next.done === true) return;
      yield next.value;
    }
  } finally {
    leave();
  }
}

/** Nobody is there to hear it; it must not look like trouble of ours. */
function brokeOff(cause: unknown): never {
  throw new Problem('malformed-request', 'The upload broke off.', { cause });
}
