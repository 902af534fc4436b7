import type { Operation } from './document.ts';
import type { Draw } from './draw.ts';
import { makeRequest } from './make-request.ts';
import type { Sources } from './sources.ts';
import type { FuzzRequest } from './request.ts';

// One thing from its making to its end, with what may be done to it all at once in between.

/** A collection: how one of its things is made, what may be done to it, how it ends. */
type Collection = {
  readonly parameter: string;
  readonly make: Operation;
  readonly acts: readonly Operation[];
  readonly end: Operation | undefined;
};

export type Play = (request: FuzzRequest) => Promise<{ readonly status: number | undefined; readonly body: unknown }>;

export function collectionsOf(operations: readonly Operation[]): Collection[] {
  return operations.flatMap((make): Collection[] => {
    const item = makesItem(make, operations);
    const parameter = item === undefined ? undefined : /\{(\w+)\}$/.exec(item)?.[1];
    if (item === undefined || parameter === undefined) return [];
    const below = operations.filter(({ path }) => path === item || path.startsWith(`${item}/`));
    const end = below.find(({ method, path }) => method === 'DELETE' && path === item);
    return [{ parameter, make, acts: below.filter((operation) => operation !== end), end }];
  });
}

/** Path of the things an operation makes: `POST /v1/jobs` and `PUT /v1/registries/{host}` do. */
function makesItem({ method, path, access }: Operation, operations: readonly Operation[]): string | undefined {
  if (access === 'agent') return undefined;
  if (method === 'PUT' && /\}$/.test(path)) return path;
  if (method !== 'POST') return undefined;
  return operations.map((other) => other.path).find((other) => /^\/\{\w+\}$/.test(other.replace(path, '')));
}

const BATCHES = 3;

/** @param authorization of a caller who may do all of it */
export async function playStory(
  draw: Draw,
  sources: Sources,
  { parameter, make, acts, end }: Collection,
  { authorization, play }: { readonly authorization: string; readonly play: Play },
): Promise<void> {
  const name = `story-${draw.hex(8)}`;
  const wish = { faults: 0, authorization, given: { [parameter]: name } };
  const made = await play(makeRequest(draw, sources, make, wish));
  if (made.status === undefined || made.status >= 300) return;
  const thing = made.body as Record<string, string> | undefined;
  const given = { [parameter]: thing?.[parameter] ?? name };
  // The same key by several at once is carried out once.
  for (let batch = draw.between(1, BATCHES); batch > 0; batch -= 1) {
    const requests = Array.from({ length: draw.between(1, 5) }, () =>
      makeRequest(draw, sources, draw.pick(acts), { faults: draw.pick([0, 0, 0.1]), authorization, given }),
    );
    const twice = draw.chance(0.3)
      ? [withKey(requests[0], draw.hex(16))].flatMap((one) => (one ? [one, one] : []))
      : [];
    await Promise.all([...requests, ...twice].map(play));
  }
  if (end && draw.chance(0.9)) await play(makeRequest(draw, sources, end, { faults: 0, authorization, given }));
}

function withKey(request: FuzzRequest | undefined, key: string): FuzzRequest | undefined {
  return request && { ...request, headers: [...request.headers, ['idempotency-key', key]] };
}
