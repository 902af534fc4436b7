import type { Readable } from 'node:stream';
import { Injectable, Optional } from '@nestjs/common';
import { BrokenFrames } from '../docker/container-logs.js';
import { readUpload } from '../agent/read-upload.js';
import { Database } from '../database/database.js';
import { Problem } from '../http/problem.js';
import { Shutdown } from '../process/shutdown.js';
import { LineWriter } from './line-writer.js';
import { LogUpload } from './log-upload.js';
import { findLogTarget } from './upload-statements.js';

/** Where agents end an upload, about. */
const CUT_BYTES = 8 * 1_048_576;

/** Receives what containers print, as agents send it. */
@Injectable()
export class LogUploads {
  /** @param now milliseconds on a clock that never jumps */
  constructor(
    private readonly database: Database,
    private readonly writer: LineWriter,
    private readonly shutdown: Shutdown,
    @Optional() private readonly now: () => number = () => performance.now(),
  ) {}

  /**
   * Stores lines as they arrive; one whose end is missing is left to the next upload, unless a flush ends with it.
   * @param since where the upload begins, `<seconds>` or `<seconds>.<fraction>`
   * @returns where the next one is to begin, once all is stored
   * @throws Problem order-not-found, instance-retired, conflict, malformed-request, payload-too-large, shutting-down
   */
  async store(instanceId: string, orderNumber: number, since: string, body: Readable): Promise<string> {
    const target = await findLogTarget(this.database, instanceId, orderNumber);
    if (!target) throw new Problem('order-not-found', `There is no order ${orderNumber} for logs of this instance.`);
    if (target.hasEnded) throw new Problem('instance-retired', 'The attempt has ended.');
    if (target.isReplaced) throw new Problem('conflict', 'A newer order follows this log.');
    const upload = new LogUpload(target, since);
    let silentMs: number;
    try {
      silentMs = await this.#takeIn(upload, body);
      // An order without `follow` comes when the container has stopped. An agent that cuts sends CUT_BYTES at least: below
      // them this is the end of the log.
      upload.end(!target.isFollowing && upload.bytes < CUT_BYTES);
    } finally {
      // Also of an upload that broke off: whole lines are worth keeping, and the next upload has less to send.
      await this.writer.flush(upload);
    }
    return upload.nextSince(silentMs);
  }

  /** @returns milliseconds of silence before its end */
  async #takeIn(upload: LogUpload, body: Readable): Promise<number> {
    let readAtMs = this.now();
    for await (const piece of readUpload(this.shutdown, body)) {
      await this.#takePiece(upload, piece);
      // What waits for room is not silent.
      readAtMs = this.now();
    }
    return this.now() - readAtMs;
  }

  async #takePiece(upload: LogUpload, piece: Uint8Array): Promise<void> {
    try {
      upload.add(piece);
    } catch (error) {
      if (error instanceof BrokenFrames) throw new Problem('malformed-request', `The log is broken: ${error.message}.`);
      throw error;
    }
    await this.writer.write(upload);
  }
}
