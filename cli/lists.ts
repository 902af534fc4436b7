import { answerOf } from './answers.js';
import type { Session } from './session.js';
import { tableOf } from './terminal.js';

type Page<Item> = { readonly items: readonly Item[]; readonly nextCursor: string | null };
type PageQuery = { limit: number; cursor?: string };
type Call<Item> = Parameters<typeof answerOf<Page<Item>>>[0];

const LARGEST_PAGE = 200;

/** Items of all pages, one after the other, at most `limit`. */
export async function* allPages<Item>(page: (query: PageQuery) => Call<Item>, limit = Infinity): AsyncGenerator<Item> {
  let left = limit;
  let cursor: string | null = null;
  while (left > 0) {
    const query: PageQuery = { limit: Math.min(left, LARGEST_PAGE), ...(cursor !== null && { cursor }) };
    const { items, nextCursor }: Page<Item> = await answerOf(page(query));
    yield* items;
    left -= items.length;
    if (nextCursor === null) return;
    cursor = nextCursor;
  }
}

export type ListView<Item> = {
  readonly columns: readonly string[];
  readonly rowOf: (item: Item, now: number) => string[];
};

/** `{"items": […]}` for machines, a table for people. */
export async function printList<Item>(
  { terminal, isJson }: Session,
  items: AsyncIterable<Item>,
  { columns, rowOf }: ListView<Item>,
): Promise<void> {
  const all: Item[] = [];
  for await (const item of items) all.push(item);
  if (isJson) {
    terminal.json({ items: all });
    return;
  }
  const now = Date.now();
  const [header = '', ...lines] = tableOf(
    columns,
    all.map((item) => rowOf(item, now)),
  );
  terminal.out(terminal.style('dim', header));
  lines.forEach(terminal.out);
}
