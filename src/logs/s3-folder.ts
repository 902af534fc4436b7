import type { ObjectStore } from '../aws/s3.js';
import type { ObjectFolder } from './chunk-objects.js';

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
    const all = keys.map((key) => this.#address(key).key);
    await this.store.delete(this.bucket, all);
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
