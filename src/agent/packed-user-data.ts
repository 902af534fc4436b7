import { gzipSync } from 'node:zlib';
import { renderUserData, USER_DATA_LIMIT_BYTES, type UserDataInput } from './user-data.js';

/**
 * The user-data as instances get it: compressed, which cloud-init undoes. The same bytes for the same input.
 *
 * @throws Error naming the input that cannot be rendered.
 */
export function packUserData(input: UserDataInput): Uint8Array {
  const packed = new Uint8Array(gzipSync(renderUserData(input), { level: 9 }));
  // The header holds no time, but the system that it was made on (RFC 1952): unknown.
  packed[9] = 255;
  if (packed.length > USER_DATA_LIMIT_BYTES) {
    throw new Error(`script: the user-data would have ${packed.length} bytes, EC2 accepts ${USER_DATA_LIMIT_BYTES}`);
  }
  return packed;
}
