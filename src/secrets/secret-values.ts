/** Name → value: variables of a container's environment that no response shows. Pure values, nothing else here. */
export type SecretValues = Readonly<Record<string, string>>;

/** A merge patch (RFC 7396) of them; null as a whole removes all. */
export type SecretsPatch = Readonly<Record<string, string | null>> | null;

/** `name`: of the secret; without it the fault is in all of them together. */
export type SecretFault = { readonly name?: string; readonly detail: string };

const MOST_SECRETS = 100;
/** All together, as JSON: an agent gets them in one order with a definition of at most 128 KiB. */
const MOST_BYTES = 64 * 1024;

/** Sorted by name, so that the same secrets are the same JSON. */
export function mergeSecrets(before: SecretValues, patch: SecretsPatch): SecretValues {
  const merged = new Map(Object.entries(patch === null ? {} : before));
  for (const [name, value] of Object.entries(patch ?? {})) {
    if (value === null) merged.delete(name);
    else merged.set(name, value);
  }
  return Object.fromEntries([...merged].sort(([a], [b]) => (a < b ? -1 : 1)));
}

/** Faults of these secrets, also in combination with `env`. Shows no value. */
export function findSecretFaults(
  names: readonly string[],
  values: SecretValues,
  env: Readonly<Record<string, unknown>>,
): SecretFault[] {
  const faults: SecretFault[] = [];
  if (names.length > MOST_SECRETS) faults.push({ detail: `must have at most ${MOST_SECRETS} entries` });
  if (Buffer.byteLength(JSON.stringify(values)) > MOST_BYTES) {
    faults.push({ detail: `must not take more than ${MOST_BYTES / 1024} KiB as JSON` });
  }
  const both = names.filter((name) => Object.hasOwn(env, name));
  return [...faults, ...both.map((name) => ({ name, detail: 'is in env as well: a variable has one value' }))];
}
