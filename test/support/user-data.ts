import { gunzipSync } from 'node:zlib';

/** The script in the user-data of an instance, as EC2 was given it. */
export function unpackUserData(base64: string): string {
  return gunzipSync(Buffer.from(base64, 'base64')).toString();
}
