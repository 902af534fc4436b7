import { getMetadataArgsStorage } from 'typeorm';

/** A type of Postgres by the name `format_type` gives it, and what a program reads or passes for it. */
export type Column<T = unknown> = {
  readonly type: string;
  readonly isNullable: boolean;
  /** Only for the compiler. */
  readonly typeOnly?: T;
};

/** Read from a table unchanged. `sqlName`: its name there. */
export type EntityColumn<T = unknown> = Column<T> & { readonly sqlName: string };
export type EntityColumns = Readonly<Record<string, EntityColumn>>;

/** The columns of a row, in the order in which the statement returns them. */
export type Columns = Readonly<Record<string, Column>>;

export type RowOf<C extends Columns> = { readonly [Name in keyof C]: TypeOf<C[Name]> };
type TypeOf<C extends Column | undefined> = C extends Column<infer T> ? T : never;
type ValuesOf<V extends readonly Column[]> = { readonly [At in keyof V]: TypeOf<V[At]> };

/**
 * A statement with its types. `test/integration/statements.spec.ts` has Postgres parse every registered statement on the
 * migrated schema, and compares parameters and columns with what is declared here. Whether a column may be null Postgres
 * does not say: of an entity's columns the entity does, of others the declaration.
 */
export type Statement<Values extends readonly unknown[] = readonly unknown[], Row = unknown> = {
  readonly name: string;
  readonly sql: string;
  readonly values: readonly Column[];
  readonly row: Columns;
  /** Prepared once per connection: for statements run often. */
  readonly isPrepared: boolean;
  /** Only for the compiler. */
  readonly typeOnly?: (...values: Values) => Row;
};

type Declaration<V extends readonly Column[], C extends Columns> = {
  /** Of $1, $2 and so on. */
  readonly values?: V;
  /** Without it, what the statement returns is not read: it may return columns. */
  readonly row?: C;
  readonly isPrepared?: boolean;
};

const registry = new Map<string, Statement>();

/** Every statement of the modules loaded so far, by name. */
export const registeredStatements: ReadonlyMap<string, Statement> = registry;

/**
 * Declares a statement, once for each name, when its module is loaded: `statement('get-job', { values, row })(sql)`. Where
 * a text is composed, each of its shapes is a statement of its own. @throws Error when the name is taken
 */
export function statement<const V extends readonly Column[] = readonly [], const C extends Columns = Columns>(
  name: string,
  { values = [] as never, row = {} as C, isPrepared = true }: Declaration<V, C> = {},
): (sql: string) => Statement<ValuesOf<V>, RowOf<C>> {
  return (sql) => {
    if (registry.has(name)) throw new Error(`two statements are named ${name}`);
    const declared = { name, sql, values, row, isPrepared };
    registry.set(name, declared);
    return declared;
  };
}

/** Types of values and of columns that are computed. */
export const t = {
  text: of<string>('text'),
  int: of<number>('integer'),
  smallint: of<number>('smallint'),
  /** As a column a string: a number of JavaScript is exact to 53 bits only. */
  bigint: of<string>('bigint'),
  /** As a value: what LIMIT takes, or a position. */
  bigintValue: of<number>('bigint'),
  double: of<number>('double precision'),
  bool: of<boolean>('boolean'),
  uuid: of<string>('uuid'),
  bytea: of<Buffer>('bytea'),
  /** As a value. */
  byteaValue: of<Uint8Array>('bytea'),
  timestamptz: of<Date>('timestamp with time zone'),
  /** As a value: text of Postgres, where a Date would lose the microseconds. */
  timestamptzText: of<string>('timestamp with time zone'),
  /** As a value: text of JSON, of `toJsonb` or JSON.stringify. */
  json: of<string>('jsonb'),
  /** As a column: what the JSON holds, which was checked before it was written. */
  jsonOf: <T>() => of<T>('jsonb'),
  arrayOf: <T>({ type }: Column<T>): Column<readonly T[]> => of(`${type}[]`),
  nullable: <T>(column: Column<T>): Column<T | null> => ({ ...column, isNullable: true }),
  /** Text of which the program knows that it is one of some words. */
  oneOf: <T extends string>(): Column<T> => of('text'),
} as const;

function of<T>(type: string): Column<T> {
  return { type, isNullable: false };
}

/** Columns of an entity, with the types and the nullability it declares. @throws Error when it has no such column */
export function columnsOf<Entity extends object, const Name extends keyof Entity & string>(
  entity: new () => Entity,
  ...names: readonly Name[]
): { readonly [Key in Name]: EntityColumn<Entity[Key]> } {
  const declared = getMetadataArgsStorage().columns.filter(({ target }) => target === entity);
  const entries = names.map((name) => {
    const found = declared.find(({ propertyName }) => propertyName === name);
    if (!found) throw new Error(`${entity.name} has no column ${name}`);
    const { type, array, nullable: isNullable = false, name: sqlName = name } = found.options;
    const ofOne = TYPES[String(type)] ?? String(type);
    return [name, { type: array === true ? `${ofOne}[]` : ofOne, isNullable, sqlName }];
  });
  return Object.fromEntries(entries) as { readonly [Key in Name]: EntityColumn<Entity[Key]> };
}

/** The columns of a table that a LEFT JOIN may have no row of. */
export function outerJoined<C extends EntityColumns>(columns: C): OuterJoined<C> {
  const entries = Object.entries(columns).map(([name, column]) => [name, { ...column, isNullable: true }]);
  return Object.fromEntries(entries) as OuterJoined<C>;
}

type OuterJoined<C extends EntityColumns> = { readonly [Name in keyof C]: EntityColumn<TypeOf<C[Name]> | null> };

/** Abbreviations that entities use. */
const TYPES: Readonly<Record<string, string>> = {
  int: 'integer',
  timestamptz: 'timestamp with time zone',
};

/** For SELECT or RETURNING: columns of entities, each named as its property. @param table alias of the table */
export function selectList(columns: EntityColumns, table?: string): string {
  const of = table === undefined ? '' : `${table}.`;
  return Object.entries(columns)
    .map(([name, { sqlName }]) => (sqlName === name ? `${of}${name}` : `${of}${sqlName} AS "${name}"`))
    .join(', ');
}

/** For FROM: rows in JSON, whose members are named as the columns. @param alias of the rows; their JSON is $1 */
export function recordset(columns: Columns, alias: string): string {
  const members = Object.entries(columns).map(([name, { type }]) => `"${name}" ${type}`);
  return `jsonb_to_recordset($1::jsonb) AS ${alias}(${members.join(', ')})`;
}

/** For SET: columns of an entity, each to that of a recordset. */
export function assignments(columns: EntityColumns, recordsetAlias: string): string {
  return Object.entries(columns)
    .map(([name, { sqlName }]) => `${sqlName} = ${recordsetAlias}."${name}"`)
    .join(', ');
}
