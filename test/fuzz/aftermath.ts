import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { House } from '../chaos/house.ts';

export type Aftermath = { readonly faults: readonly string[]; readonly memoryMiB: number | undefined };

/** Three times what the process takes after its start. */
const MEMORY_LIMIT_MIB = 600;
const CALM_LIMIT_MS = 20_000;

/** What fuzzing must not leave behind: a dead process, errors in the log, held connections, rows no route can show. */
export async function lookAround({
  house,
  url,
  token,
}: {
  readonly house: House;
  readonly url: string;
  readonly token: string;
}): Promise<Aftermath> {
  // From an address nobody has sent a wrong token from.
  const headers = { authorization: `Bearer ${token}`, 'x-forwarded-for': '192.0.2.1' };
  const faults: string[] = house.ownEnds.map((end) => `the process ended: ${end}`);
  const get = async (path: string): Promise<{ status: number; body: Record<string, unknown> }> => {
    const response = await fetch(url + path, {
      headers,
      signal: AbortSignal.timeout(CALM_LIMIT_MS),
    });
    const text = await response.text();
    if (response.status >= 400) faults.push(`GET ${path} answers ${response.status}: ${text.slice(0, 300)}`);
    return { status: response.status, body: response.ok ? (JSON.parse(text) as Record<string, unknown>) : {} };
  };
  if (faults.length === 0) {
    await get('/health/live');
    await get('/health/ready');
    for (const list of ['/v1/jobs', '/v1/tokens', '/v1/registries', '/v1/instances']) {
      for (const item of await allOf(list, get)) {
        if (list !== '/v1/jobs') continue;
        // It may be gone by now, and may not be unreadable.
        const job = await fetch(`${url}/v1/jobs/${String(item['name'])}/deployments`, { headers });
        if (![200, 404].includes(job.status)) faults.push(`deployments of ${String(item['name'])}: ${job.status}`);
        await job.arrayBuffer();
      }
    }
    await get('/v1/fleet');
    faults.push(...(await heldTransactions(house)));
  }
  faults.push(...(await loggedErrors(house.logFiles)));
  const memoryMiB = await memoryOf(house.replicas[0]?.process?.pid);
  if (memoryMiB !== undefined && memoryMiB > MEMORY_LIMIT_MIB) faults.push(`the process takes ${memoryMiB} MiB`);
  return { faults, memoryMiB };
}

async function allOf(
  list: string,
  get: (path: string) => Promise<{ body: Record<string, unknown> }>,
): Promise<Record<string, unknown>[]> {
  const items: Record<string, unknown>[] = [];
  for (let cursor: unknown = ''; typeof cursor === 'string';) {
    const { body } = await get(`${list}?limit=200${cursor === '' ? '' : `&cursor=${cursor}`}`);
    items.push(...((body['items'] ?? []) as Record<string, unknown>[]));
    cursor = body['nextCursor'];
  }
  return items;
}

/** A transaction nobody ends holds a connection, and rows. */
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
