// Copied to src/mutant.ts of an instrumented tree whose tests run in one process: which mutant is awake changes as it runs.
const sql = new Map<number, string>();

export function isMutant(id: number): boolean {
  return id === awake();
}

/** SQL is put together when its module is loaded: each change is marked in it, and made when the statement is run. */
export function sqlOf(id: number, original: string, mutated: string): string {
  sql.set(id, mutated);
  return `/*<${id}*/${original}/*${id}>*/`;
}

/** A changed statement is prepared by no name: Postgres would go on with the former one. */
export function wakeSql<T extends { readonly text: string; readonly name?: string }>(query: T): T {
  const id = awake();
  const [begin, end] = [`/*<${id}*/`, `/*${id}>*/`];
  if (!query.text.includes(begin)) return query;
  const parts = query.text.split(begin).map((part, at) => {
    return at === 0 ? part : `${sql.get(id) ?? ''}${part.slice(part.indexOf(end) + end.length)}`;
  });
  return { ...query, name: undefined, text: parts.join('') };
}

/** Of the other way to run mutants. */
export function noteSql(): void {
  return undefined;
}

function awake(): number {
  return (globalThis as { awakeMutant?: number }).awakeMutant ?? 0;
}
