import {
  DeleteObjectsCommand,
  GetObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  S3Client,
} from '@aws-sdk/client-s3';

export type ObjectAddress = { readonly bucket: string; readonly key: string };

export type S3Options = {
  readonly region: string;
  /** For endpoints other than AWS's own, where `bucket.host` has no address. */
  readonly isPathStyle: boolean;
  /** Bounds a whole call, repeats and the search for credentials included. Default: 20 s. */
  readonly timeoutMs?: number;
};

/**
 * On a fresh instance the role's credentials appear some seconds after the boot, and the SDK asks three times: less
 * would fail good starts, more would hide a wrong endpoint.
 */
const TIMEOUT_MS = 20_000;

/** S3 takes no more in one call. */
const MAX_DELETED = 1_000;

/** What we need of S3. Endpoint and credentials come from the environment, by the SDK's own rules. */
export class ObjectStore {
  readonly #client: S3Client;
  readonly #timeoutMs: number;

  constructor({ region, isPathStyle, timeoutMs = TIMEOUT_MS }: S3Options) {
    this.#client = new S3Client({
      region,
      forcePathStyle: isPathStyle,
      maxAttempts: 3,
      requestHandler: { connectionTimeout: 3_000, requestTimeout: timeoutMs },
    });
    this.#timeoutMs = timeoutMs;
  }

  /** @throws the SDK's error, named as S3 names it (`NoSuchKey`, `AccessDenied` …), or a TimeoutError */
  async readText({ bucket, key }: ObjectAddress): Promise<string> {
    const abortSignal = AbortSignal.timeout(this.#timeoutMs);
    const answer = await this.#client.send(new GetObjectCommand({ Bucket: bucket, Key: key }), { abortSignal });
    return (await answer.Body?.transformToString('utf-8')) ?? '';
  }

  /** Replaces what is there. @throws as `readText` */
  async put({ bucket, key }: ObjectAddress, bytes: Uint8Array, contentType: string): Promise<void> {
    const command = new PutObjectCommand({ Bucket: bucket, Key: key, Body: bytes, ContentType: contentType });
    await this.#client.send(command, { abortSignal: AbortSignal.timeout(this.#timeoutMs) });
  }

  /** @returns undefined when there is no such object. @throws as `readText` */
  async get({ bucket, key }: ObjectAddress): Promise<Uint8Array | undefined> {
    const abortSignal = AbortSignal.timeout(this.#timeoutMs);
    try {
      const answer = await this.#client.send(new GetObjectCommand({ Bucket: bucket, Key: key }), { abortSignal });
      return await answer.Body?.transformToByteArray();
    } catch (error) {
      if (error instanceof Error && error.name === 'NoSuchKey') return undefined;
      throw error;
    }
  }

  /** What is not there is no error. @throws as `readText`, also when S3 could not delete some of them */
  async delete(bucket: string, keys: readonly string[]): Promise<void> {
    for (let at = 0; at < keys.length; at += MAX_DELETED) {
      const objects = keys.slice(at, at + MAX_DELETED).map((key) => ({ Key: key }));
      const command = new DeleteObjectsCommand({ Bucket: bucket, Delete: { Objects: objects, Quiet: true } });
      const { Errors: [first] = [] } = await this.#client.send(command, {
        abortSignal: AbortSignal.timeout(this.#timeoutMs),
      });
      if (first) throw new Error(`S3 could not delete ${String(first.Key)}: ${String(first.Code)}`);
    }
  }

  /** Pages of keys. @throws as `readText` */
  async *list(bucket: string, prefix: string): AsyncGenerator<readonly string[]> {
    for (let token: string | undefined; ;) {
      const command = new ListObjectsV2Command({ Bucket: bucket, Prefix: prefix, ContinuationToken: token });
      const page = await this.#client.send(command, { abortSignal: AbortSignal.timeout(this.#timeoutMs) });
      yield (page.Contents ?? []).flatMap(({ Key: key }) => key ?? []);
      token = page.NextContinuationToken;
      if (token === undefined) return;
    }
  }

  close(): void {
    this.#client.destroy();
  }
}
