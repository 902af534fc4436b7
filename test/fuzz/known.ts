import type { Operation } from './document.ts';
import type { Draw } from './draw.ts';

const MOST = 60;

/**
 * What responses returned: names and numbers of what is there, entity tags, cursors. Without it every path would lead
 * nowhere. A value is kept under the path up to its parameter: `/v1/jobs/{name}`.
 */
export class Known {
  readonly #values = new Map<string, string[]>();
  readonly #keys: readonly { readonly collection: string; readonly key: string; readonly field: string }[];
  readonly #draw: Draw;
  readonly #kept: ReadonlySet<string>;

  /** @param kept values that are never returned: what would end the run itself, if it were deleted */
  constructor(operations: readonly Pick<Operation, 'path'>[], draw: Draw, kept: ReadonlySet<string>) {
    this.#draw = draw;
    this.#kept = kept;
    this.#keys = operations.flatMap(({ path }) => {
      const match = /^(.*)\/\{(\w+)\}$/.exec(path.replace(/(\})(?:\/[^{}]*)$/, '$1'));
      const [, collection, field] = match ?? [];
      return collection !== undefined && field !== undefined
        ? [{ collection, field, key: `${collection}/{${field}}` }]
        : [];
    });
  }

  pick(key: string, draw: Draw): string | undefined {
    const values = this.#values.get(key);
    return values && values.length > 0 ? draw.pick(values) : undefined;
  }

  add(key: string, value: string): void {
    if (this.#kept.has(value)) return;
    const values = this.#values.get(key) ?? [];
    this.#values.set(key, values);
    if (values.includes(value)) return;
    if (values.length < MOST) values.push(value);
    else values[this.#draw.between(0, MOST - 1)] = value;
  }

  learn(operation: Operation, body: unknown, headers: Readonly<Record<string, string | string[] | undefined>>): void {
    const things = [body, ...(isRecord(body) && Array.isArray(body['items']) ? (body['items'] as unknown[]) : [])];
    for (const { collection, field, key } of this.#keys) {
      if (operation.path !== collection && !operation.path.startsWith(key)) continue;
      for (const thing of things) {
        const value = isRecord(thing) ? thing[field] : undefined;
        if (typeof value === 'string' || typeof value === 'number') this.add(key, String(value));
      }
    }
    if (isRecord(body) && typeof body['nextCursor'] === 'string') {
      this.add(`${operation.path}?cursor`, body['nextCursor']);
    }
    if (typeof headers['etag'] === 'string') this.add('etag', headers['etag']);
  }
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}
