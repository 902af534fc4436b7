import { createHash } from 'node:crypto';
import type { ShapeSpec } from './shape-spec.js';

/** SHA-256 over the spec with its keys in a fixed order, hex. */
export function shapeKeyOf(spec: ShapeSpec): string {
  const entries = Object.entries(spec).sort(([a], [b]) => (a < b ? -1 : 1));
  return createHash('sha256').update(JSON.stringify(entries)).digest('hex');
}
