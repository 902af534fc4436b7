/** As Docker accepts it. */
export type RegistryAuth = { readonly username: string; readonly password: string; readonly serveraddress: string };

/** https://docs.docker.com/reference/api/engine/#section/Authentication. Engines ignore it when its padding is missing. */
export function encodeAuth({ username, password, serveraddress }: RegistryAuth): string {
  const json = JSON.stringify({ username, password, serveraddress });
  return Buffer.from(json).toString('base64').replaceAll('+', '-').replaceAll('/', '_');
}

/** It is sent in one line of a header, to the agent and from there to Docker: curl accepts lines up to 100 KiB. */
export const MOST_AUTH_CHARACTERS = 96 * 1024;
