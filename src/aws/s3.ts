import {
  DeleteObjectCommand,
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
 * On a fresh instance the role's credentials appear some seconds after the boot, and the SDK tries three times: less
 * would fail good starts, more would hide a wrong endpoint.
 */
const TIMEOUT_MS = 20_000;

/**
 * What we need of S3. Endpoint and credentials come from the environment, by the SDK's own rules. A bucket may be in
 * another region than ours: S3 returns which, and later calls are sent there. (The SDK can follow redirects, too, but
 * calls the wrong region first each time, and concurrent calls change each other's region.)
 */
export class ObjectStore {
  readonly #clients = new Map<string, S3Client>();
  /** By bucket; one that is not in it is assumed to be in our region. */
  readonly #regions = new Map<string, string>();
  readonly #timeoutMs: number;

  constructor(private readonly options: S3Options) {
    this.#timeoutMs = options.timeoutMs ?? TIMEOUT_MS;
  }

  /** @throws the SDK's error, named as S3 names it (`NoSuchKey`, `AccessDenied` …), or a TimeoutError */
  async readText({ bucket, key }: ObjectAddress): Promise<string> {
    const answer = await this.#ask(bucket, (client, options) =>
      client.send(new GetObjectCommand({ Bucket: bucket, Key: key }), options),
    );
    return (await answer.Body?.transformToString('utf-8')) ?? '';
  }

  /** Replaces an object that exists. @throws as `readText` */
  async put({ bucket, key }: ObjectAddress, bytes: Uint8Array, contentType: string): Promise<void> {
    await this.#ask(bucket, (client, options) =>
      client.send(new PutObjectCommand({ Bucket: bucket, Key: key, Body: bytes, ContentType: contentType }), options),
    );
  }

  /** @returns undefined when there is no such object. @throws as `readText` */
  async get(address: ObjectAddress): Promise<Uint8Array | undefined> {
    const { bucket, key } = address;
    try {
      const answer = await this.#ask(bucket, (client, options) =>
        client.send(new GetObjectCommand({ Bucket: bucket, Key: key }), options),
      );
      return await answer.Body?.transformToByteArray();
    } catch (error) {
      const isGone = isNamed(error, 'NoSuchKey') || (isNamed(error, 'AccessDenied') && (await this.#lacks(address)));
      if (isGone) return undefined;
      throw error;
    }
  }

  /** Deleting an object that does not exist is no error. @throws as `readText` */
  async delete({ bucket, key }: ObjectAddress): Promise<void> {
    await this.#ask(bucket, (client, options) =>
      client.send(new DeleteObjectCommand({ Bucket: bucket, Key: key }), options),
    );
  }

  /** Pages of keys. @throws as `readText` */
  async *list(bucket: string, prefix: string): AsyncGenerator<readonly string[]> {
    for (let token: string | undefined; ;) {
      const page = await this.#ask(bucket, (client, options) =>
        client.send(new ListObjectsV2Command({ Bucket: bucket, Prefix: prefix, ContinuationToken: token }), options),
      );
      yield (page.Contents ?? []).flatMap(({ Key: key }) => key ?? []);
      token = page.NextContinuationToken;
      if (token === undefined) return;
    }
  }

  close(): void {
    for (const client of this.#clients.values()) client.destroy();
  }

  /**
   * To a role that may not list the bucket S3 answers 403 for a missing key, too (S3's GetObject reference). A list of
   * keys that begin with this one, which a role may have for its own prefix, tells them apart.
   */
  async #lacks({ bucket, key }: ObjectAddress): Promise<boolean> {
    try {
      const page = await this.#ask(bucket, (client, options) =>
        client.send(new ListObjectsV2Command({ Bucket: bucket, Prefix: key, MaxKeys: 1 }), options),
      );
      // In the order of keys the shortest that begins so, the key itself, is the first.
      return page.Contents?.[0]?.Key !== key;
    } catch {
      // The caller throws the refusal of the object itself, which says more.
      return false;
    }
  }

  async #ask<T>(bucket: string, send: (client: S3Client, options: SendOptions) => Promise<T>): Promise<T> {
    const options = { abortSignal: AbortSignal.timeout(this.#timeoutMs) };
    const region = this.#regions.get(bucket) ?? this.options.region;
    try {
      return await send(this.#clientOf(region), options);
    } catch (error) {
      const actual = bucketRegionOf(error);
      if (actual === undefined || actual === region) throw error;
      const answer = await send(this.#clientOf(actual), options);
      this.#regions.set(bucket, actual);
      return answer;
    }
  }

  #clientOf(region: string): S3Client {
    const known = this.#clients.get(region);
    if (known) return known;
    const client = new S3Client({
      region,
      forcePathStyle: this.options.isPathStyle,
      maxAttempts: 3,
      requestHandler: { connectionTimeout: 3_000, requestTimeout: this.#timeoutMs },
    });
    this.#clients.set(region, client);
    return client;
  }
}

type SendOptions = { readonly abortSignal: AbortSignal };

function isNamed(error: unknown, name: string): boolean {
  return error instanceof Error && error.name === name;
}

/**
 * In every answer from the wrong region (301 PermanentRedirect, 400 AuthorizationHeaderMalformed) S3 names the right
 * one.
 */
function bucketRegionOf(error: unknown): string | undefined {
  const { $response } = (error ?? {}) as { $response?: { headers?: Record<string, string | undefined> } };
  const region = $response?.headers?.['x-amz-bucket-region'];
  return region !== undefined && /^[a-z0-9-]{1,30}$/.test(region) ? region : undefined;
}
