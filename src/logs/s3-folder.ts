import type { ObjectStore } from '../aws/s3.js';
import type { ObjectFolder } from './chunk-objects.js';

const DELETED_AT_ONCE = 16;

/** Objects of a bucket whose keys begin with a prefix. */
export class S3Folder implements ObjectFolder {
  /** @param prefix empty, or ends with a slash */
  constructor(
    private readonly store: Pick<ObjectStore, 'put' | 'get' | 'delete' | 'list'>,
    private readonly bucket: string,
    private readonly prefix: string,
  ) {}

  async put(key: string, bytes: Uint8Array): Promise<void> {
    await this.store.put(this.#address(key), bytes, 'application/gzip');
  }

  async get(key: string): Promise<Uint8Array | undefined> {
    return await this.store.get(this.#address(key));
  }

  async delete(keys: readonly string[]): Promise<void> {
    // One by one: not every store that speaks S3 deletes many in a call.
    for (let at = 0; at < keys.length; at += DELETED_AT_ONCE) {
      const some = keys.slice(at, at + DELETED_AT_ONCE);
      await Promise.all(some.map((key) => this.store.delete(this.#address(key))));
    }
  }

  async *list(prefix: string): AsyncGenerator<readonly string[]> {
    for await (const keys of this.store.list(this.bucket, this.#address(prefix).key)) {
      yield keys.map((key) => key.slice(this.prefix.length));
    }
  }

  #address(key: string): { bucket: string; key: string } {
    return { bucket: this.bucket, key: `${this.prefix}${key}` };
  }
}
