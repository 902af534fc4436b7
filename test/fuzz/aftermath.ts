import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { House } from '../chaos/house.ts';
import type { Operation } from './document.ts';

export type Aftermath = { readonly faults: readonly string[]; readonly memoryMiB: number | undefined };

/** Three times what the process takes after its start. */
const MEMORY_LIMIT_MIB = 600;
const CALM_LIMIT_MS = 20_000;
const MOST_PAGES = 20;

type Item = Record<string, unknown>;

/** What fuzzing must not leave behind: a dead process, errors in the log, held connections, rows no route can show. */
export async function lookAround({
  house,
  operations,
  url,
  token,
}: {
  readonly house: House;
  readonly operations: readonly Operation[];
  readonly url: string;
  readonly token: string;
}): Promise<Aftermath> {
  // From an address that has sent no wrong token.
  const headers = { authorization: `Bearer ${token}`, 'x-forwarded-for': '192.0.2.1' };
  const faults: string[] = house.ownEnds.map((end) => `the process ended: ${end}`);
  const readable = operations.filter(
    ({ method, path, access }) => method === 'GET' && !path.includes('{') && access !== 'agent',
  );
  const get = async (path: string): Promise<Item> => {
    const response = await fetch(url + path, {
      headers,
      signal: AbortSignal.timeout(CALM_LIMIT_MS),
    });
    const text = await response.text();
    if (response.status >= 400) faults.push(`GET ${path} answers ${response.status}: ${text.slice(0, 300)}`);
    return response.ok ? (JSON.parse(text) as Item) : {};
  };
  if (faults.length === 0) {
    for (const { path, parameters } of readable) {
      const cursor = parameters.find(({ name }) => name === 'cursor' || name === 'after');
      const items = cursor ? await pagesOf(path, cursor.name, get) : [await get(path)];
      if (path !== '/v1/jobs') continue;
      await Promise.all(
        items.map(async (item) => {
          const { status, body } = await fetch(`${url}/v1/jobs/${nameOf(item)}/deployments`, { headers });
          await body?.cancel();
          // It may be gone by now, and may not be unreadable.
          if (![200, 404].includes(status)) faults.push(`deployments of ${nameOf(item)}: ${status}`);
        }),
      );
    }
    faults.push(...(await heldTransactions(house)));
  }
  faults.push(...(await loggedErrors(house.logFiles)));
  const memoryMiB = await memoryOf(house.replicas[0]?.process?.pid);
  if (memoryMiB !== undefined && memoryMiB > MEMORY_LIMIT_MIB) faults.push(`the process takes ${memoryMiB} MiB`);
  return { faults, memoryMiB };
}

/** @param cursorName of the parameter that takes `nextCursor` */
async function pagesOf(list: string, cursorName: string, get: (path: string) => Promise<Item>): Promise<Item[]> {
  const items: Item[] = [];
  let cursor: unknown = '';
  for (let pages = 0; pages < MOST_PAGES && typeof cursor === 'string'; pages += 1) {
    const page = await get(`${list}?limit=200${cursor === '' ? '' : `&${cursorName}=${cursor}`}`);
    items.push(...((page['items'] ?? []) as Item[]));
    cursor = page['nextCursor'];
  }
  return items;
}

function nameOf(job: Item): string {
  return String(job['name']);
}

/** A transaction that is never ended holds a connection, and rows. */
async function heldTransactions({ postgres }: House): Promise<string[]> {
  const held = await postgres.query<{ query: string }>(
    `SELECT query FROM pg_stat_activity
     WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() AND xact_start < clock_timestamp() - interval '10 s'`,
  );
  return held.map(({ query }) => `a transaction is held open: ${query.slice(0, 200)}`);
}

/** Whatever is not a line of JSON is a crash, or a library that talks to itself. */
async function loggedErrors(files: readonly string[]): Promise<string[]> {
  const texts = await Promise.all(files.map((file) => readFile(file, 'utf8')));
  const lines = texts.flatMap((text) => text.split('\n').filter((line) => line !== ''));
  return [...new Set(lines.filter(isError).map((line) => `logged: ${line.slice(0, 1_500)}`))].slice(0, 20);
}

function isError(line: string): boolean {
  try {
    return ['error', 'fatal'].includes((JSON.parse(line) as { level: string }).level);
  } catch {
    return true;
  }
}

/** Resident memory. Undefined where there is no /proc. */
export async function memoryOf(pid: number | undefined): Promise<number | undefined> {
  const status = await readFile(join('/proc', String(pid), 'status'), 'utf8').catch(() => '');
  const kibibytes = /^VmRSS:\s+(\d+)/m.exec(status)?.[1];
  return kibibytes === undefined ? undefined : Math.round(Number(kibibytes) / 1024);
}
