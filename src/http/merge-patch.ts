import { z } from 'zod';

export type MergePatch = { readonly [field: string]: unknown };

/** RFC 7396: null removes a member, an object is merged, anything else replaces. */
export function mergePatch(target: unknown, patch: unknown): unknown {
  if (!isObject(patch)) return patch;
  const kept = new Map(isObject(target) ? Object.entries(target) : []);
  for (const [field, value] of Object.entries(patch)) {
    if (value === null) kept.delete(field);
    else kept.set(field, mergePatch(kept.get(field), value));
  }
  // fromEntries defines its properties, so that a field named __proto__ stays a field.
  return Object.fromEntries(kept);
}

/**
 * Schema of a merge patch of `object`: the same fields, each optional and nullable, none with a default, since a
 * default would overwrite what is stored. It rejects unknown fields; the result is validated afterwards.
 */
export function mergePatchOf(object: z.ZodObject): z.ZodObject<Record<string, z.ZodType>> {
  const fields = Object.entries<z.core.$ZodType>(object.shape).map(
    ([name, field]) => [name, patchFieldOf(field)] as const,
  );
  return z.strictObject(Object.fromEntries(fields));
}

function patchFieldOf(field: z.core.$ZodType): z.ZodType {
  // The name of a component belongs to the field itself.
  const meta = Object.entries(metaOf(field)).filter(([key]) => key !== 'id');
  return withoutDefault(field).nullable().optional().meta(Object.fromEntries(meta));
}

function withoutDefault(field: z.core.$ZodType): z.ZodType {
  if (field instanceof z.ZodDefault || field instanceof z.ZodPrefault || field instanceof z.ZodOptional) {
    return withoutDefault(field.unwrap());
  }
  if (field instanceof z.ZodObject) return mergePatchOf(field);
  if (field instanceof z.ZodRecord) return z.record(field.keyType, asType(field.valueType).nullable());
  return asType(field);
}

/** A default is wrapped around its field, so that what describes the field may be at either. */
function metaOf(field: z.core.$ZodType): z.core.GlobalMeta {
  const own = z.globalRegistry.get(field) ?? {};
  const isWrapper = field instanceof z.ZodDefault || field instanceof z.ZodPrefault || field instanceof z.ZodOptional;
  return isWrapper ? { ...metaOf(field.unwrap()), ...own } : own;
}

/** Zod types inner schemas by their core; all of ours are made by the classic builder. */
function asType(field: z.core.$ZodType): z.ZodType {
  if (field instanceof z.ZodType) return field;
  throw new TypeError('not a schema of zod’s classic builder');
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
