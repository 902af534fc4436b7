import fc from 'fast-check';
import type { ApiDocument, JsonSchema } from './document.ts';
import type { Draw } from './draw.ts';
import { HOSTILE_KEYS, HOSTILE_NUMBERS, HOSTILE_STRINGS, HOSTILE_VALUES } from './hostile.ts';

const MOST_ITEMS = 4;
const DEEPEST = 8;
/** Texts drawn once per pattern. */
const POOL = 40;

/**
 * Values of a schema. `faults` is the probability, at each place of the value, that it is wrong: just
 * beyond a limit, of another type, missing, too much, or hostile. 0 makes values the schema accepts.
 */
export class ValueMaker {
  readonly #pools = new Map<string, readonly string[]>();

  readonly #document: Pick<ApiDocument, 'resolve'>;
  readonly #seed: number;

  constructor(document: Pick<ApiDocument, 'resolve'>, seed: number) {
    this.#document = document;
    this.#seed = seed;
  }

  make(draw: Draw, given: JsonSchema, faults: number, depth = 0): unknown {
    const schema = this.#document.resolve(given);
    if (draw.chance(faults)) return this.#wrong(draw, schema, depth);
    const examples = examplesOf(schema);
    if (examples.length > 0 && draw.chance(0.4)) {
      const example = draw.pick(examples);
      return draw.chance(faults * 4) ? mutate(draw, example) : example;
    }
    if ('const' in schema) return schema['const'];
    if (Array.isArray(schema['enum'])) return draw.pick(schema['enum'] as unknown[]);
    for (const keyword of ['anyOf', 'oneOf'] as const) {
      if (Array.isArray(schema[keyword])) {
        return this.make(draw, draw.pick(schema[keyword] as JsonSchema[]), faults, depth + 1);
      }
    }
    return this.#ofType(draw, schema, faults, depth);
  }

  #ofType(draw: Draw, schema: JsonSchema, faults: number, depth: number): unknown {
    const { type } = schema;
    switch (Array.isArray(type) ? draw.pick(type as string[]) : type) {
      case 'string':
        return this.#text(draw, schema);
      case 'integer':
        return draw.between(lowOf(schema), highOf(schema));
      case 'number':
        return lowOf(schema) + draw.between(0, 1_000) / 1_000;
      case 'boolean':
        return draw.chance(0.5);
      case 'null':
        return null;
      case 'array':
        return this.#array(draw, schema, faults, depth);
      case 'object':
        return this.#object(draw, schema, faults, depth);
      default:
        return draw.pick([null, 1, 'x', {}]);
    }
  }

  #text(draw: Draw, schema: JsonSchema): string {
    const low = numberOf(schema['minLength']) ?? 0;
    const high = Math.min(numberOf(schema['maxLength']) ?? 20, low + 40);
    if (typeof schema['pattern'] === 'string') {
      const fitting = this.#poolOf(schema['pattern']).filter((text) => text.length >= low);
      if (fitting.length > 0) return draw.pick(fitting).slice(0, numberOf(schema['maxLength']));
    }
    if (schema['format'] === 'uri') return draw.pick(['https://hooks.example.com/in', 'http://127.0.0.1:9/x']);
    if (schema['format'] === 'date-time') return draw.pick(['2026-11-25T19:00:00Z', '1970-01-01T00:00:00.000Z']);
    return draw.hex(draw.between(Math.max(low, 1), Math.max(high, 1)));
  }

  /** fast-check writes what an expression matches; one it cannot read yields nothing. */
  #poolOf(pattern: string): readonly string[] {
    const known = this.#pools.get(pattern);
    if (known) return known;
    let pool: readonly string[] = [];
    try {
      pool = fc.sample(fc.stringMatching(new RegExp(pattern, 'u')), { seed: this.#seed, numRuns: POOL });
    } catch {
      // Assertions with a look ahead or back.
    }
    this.#pools.set(pattern, pool);
    return pool;
  }

  #array(draw: Draw, schema: JsonSchema, faults: number, depth: number): unknown[] {
    const low = numberOf(schema['minItems']) ?? 0;
    const high = Math.max(low, Math.min(numberOf(schema['maxItems']) ?? MOST_ITEMS, MOST_ITEMS));
    const items = (schema['items'] ?? {}) as JsonSchema;
    const length = depth > DEEPEST ? low : draw.between(low, high);
    return Array.from({ length }, () => this.make(draw, items, faults, depth + 1));
  }

  #object(draw: Draw, schema: JsonSchema, faults: number, depth: number): Record<string, unknown> {
    const made = nothing();
    const required = new Set((schema['required'] ?? []) as string[]);
    const properties = Object.entries((schema['properties'] ?? {}) as Record<string, JsonSchema>);
    for (const [name, property] of properties) {
      // What is described as `not` anything is refused by name.
      const isWanted = 'not' in property ? draw.chance(faults) : required.has(name) || draw.chance(0.35 / (1 + depth));
      if (isWanted && !(required.has(name) && draw.chance(faults))) {
        set(made, name, this.make(draw, property, faults, depth + 1));
      }
    }
    const others = schema['additionalProperties'];
    if (typeof others === 'object' && others !== null) {
      const names = (schema['propertyNames'] ?? { type: 'string' }) as JsonSchema;
      for (let left = draw.between(0, 3); left > 0; left -= 1) {
        set(
          made,
          textOf(this.make(draw, names, faults, depth + 1)),
          this.make(draw, others as JsonSchema, faults, depth + 1),
        );
      }
    }
    if (draw.chance(faults * 2)) set(made, draw.pick(HOSTILE_KEYS), draw.pick(HOSTILE_VALUES));
    return made;
  }

  #wrong(draw: Draw, schema: JsonSchema, depth: number): unknown {
    return draw.weigh<() => unknown>([
      [3, () => beyond(draw, schema)],
      [2, () => draw.pick(HOSTILE_STRINGS)],
      [2, () => draw.pick(HOSTILE_NUMBERS)],
      [2, () => draw.pick(HOSTILE_VALUES)],
      [1, () => nested(draw.pick([3, 50, 500]))],
      [1, () => [this.make(draw, schema, 0, depth + 1)]],
    ])();
  }
}

/** At and just beyond the limits a schema names. */
function beyond(draw: Draw, schema: JsonSchema): unknown {
  const limits: unknown[] = [];
  const minimum = numberOf(schema['minimum']);
  const maximum = numberOf(schema['maximum']);
  if (minimum !== undefined) limits.push(minimum, minimum - 1, minimum - 0.5, String(minimum));
  if (maximum !== undefined) limits.push(maximum, maximum + 1, maximum + 0.5, String(maximum));
  for (const [keyword, add] of [
    ['minLength', -1],
    ['maxLength', 1],
    ['maxLength', 0],
  ] as const) {
    const length = numberOf(schema[keyword]);
    if (length !== undefined) limits.push('a'.repeat(Math.max(0, Math.min(length + add, 100_000))));
  }
  const most = numberOf(schema['maxItems']);
  if (most !== undefined) limits.push(Array<string>(most + 1).fill('a'), Array<object>(most).fill({}));
  return draw.pick(limits.length > 0 ? limits : HOSTILE_VALUES);
}

/** One place of a value, wherever it is, gets something else, goes, is doubled or gets company. */
export function mutate(draw: Draw, value: unknown): unknown {
  if (typeof value !== 'object' || value === null || draw.chance(0.2)) return replacement(draw, value);
  if (Array.isArray(value)) {
    const items: unknown[] = [...(value as unknown[])];
    if (items.length === 0 || draw.chance(0.2)) return [...items, draw.pick(HOSTILE_VALUES)];
    const index = draw.between(0, items.length - 1);
    if (draw.chance(0.2)) return items.toSpliced(index, 1);
    if (draw.chance(0.2)) return items.toSpliced(index, 0, ...Array<unknown>(draw.pick([1, 200])).fill(items[index]));
    return items.with(index, mutate(draw, items[index]));
  }
  const made = nothing();
  const keys = Object.keys(value);
  const target = keys.length > 0 ? draw.pick(keys) : undefined;
  const how = draw.weigh([
    [6, 'change'],
    [2, 'drop'],
    [1, 'rename'],
    [1, 'add'],
  ] as const);
  for (const [key, inner] of Object.entries(value) as [string, unknown][]) {
    if (key !== target || how === 'add') set(made, key, inner);
    else if (how === 'change') set(made, key, mutate(draw, inner));
    else if (how === 'rename') set(made, draw.pick([key.toUpperCase(), `${key} `, ...HOSTILE_KEYS]), inner);
  }
  if (how === 'add') set(made, draw.pick(HOSTILE_KEYS), draw.pick(HOSTILE_VALUES));
  return made;
}

function replacement(draw: Draw, value: unknown): unknown {
  if (typeof value === 'string' && draw.chance(0.5)) {
    const at = draw.between(0, value.length);
    return value.slice(0, at) + draw.pick(HOSTILE_STRINGS) + value.slice(at);
  }
  if (typeof value === 'number' && draw.chance(0.5)) return draw.pick(HOSTILE_NUMBERS);
  return draw.pick<unknown>([...HOSTILE_STRINGS, ...HOSTILE_NUMBERS, ...HOSTILE_VALUES]);
}

export function nested(depth: number): unknown {
  let value: unknown = 1;
  for (let level = 0; level < depth; level += 1) value = level % 2 === 0 ? [value] : { a: value };
  return value;
}

/** In a path, a query, a header or a form. */
export function textOf(value: unknown): string {
  return (typeof value === 'string' ? value : JSON.stringify(value)).toWellFormed();
}

/** Without a prototype, so that `__proto__` is a key like any other. */
function nothing(): Record<string, unknown> {
  return Object.create(null) as Record<string, unknown>;
}

function set(target: Record<string, unknown>, key: string, value: unknown): void {
  target[key] = value;
}

function examplesOf(schema: JsonSchema): readonly unknown[] {
  const many = Array.isArray(schema['examples']) ? (schema['examples'] as unknown[]) : [];
  return 'example' in schema ? [...many, schema['example']] : many;
}

function numberOf(value: unknown): number | undefined {
  return typeof value === 'number' ? value : undefined;
}

function lowOf(schema: JsonSchema): number {
  return numberOf(schema['minimum']) ?? 0;
}

/** Mostly small: durations of an hour would make the rest of a run wait. */
function highOf(schema: JsonSchema): number {
  return Math.min(numberOf(schema['maximum']) ?? 100, lowOf(schema) + 100);
}
