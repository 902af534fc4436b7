import { z } from 'zod';

/** Former name → name, of members of `instance`. Accepted in requests for one version; answers have the new name. */
const OF_INSTANCE: Readonly<Record<string, string>> = { imageId: 'ami' };

/** `schema` for bodies of clients that may still use former names; in a body with both, the former is unknown. */
export function withFormerNames<T extends z.ZodType>(schema: T) {
  return z.preprocess(withCurrentNames, schema);
}

function withCurrentNames(body: unknown): unknown {
  if (!isObject(body) || !isObject(body['instance'])) return body;
  const instance = new Map(Object.entries(body['instance']));
  for (const [former, name] of Object.entries(OF_INSTANCE)) {
    if (!instance.has(former) || (instance.get(name) ?? null) !== null) continue;
    instance.set(name, instance.get(former));
    instance.delete(former);
  }
  return { ...body, instance: Object.fromEntries(instance) };
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
