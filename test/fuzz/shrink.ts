import { parse } from './check-answer.ts';
import type { FuzzRequest } from './request.ts';

const MOST_TRIES = 60;

/** The smallest request that still shows the fault: without headers, query and fields that do not matter. */
export async function shrink(
  request: FuzzRequest,
  showsFault: (request: FuzzRequest) => Promise<boolean>,
): Promise<FuzzRequest> {
  let smallest = request;
  let tries = 0;
  for (let isSmaller = true; isSmaller;) {
    isSmaller = false;
    for (const candidate of simpler(smallest)) {
      if ((tries += 1) > MOST_TRIES) return smallest;
      if (!(await showsFault(candidate))) continue;
      smallest = candidate;
      isSmaller = true;
      break;
    }
  }
  return smallest;
}

function simpler(request: FuzzRequest): FuzzRequest[] {
  const { headers, path, body } = request;
  const [plain = '', query] = path.split(/\?(.*)/s);
  const parts = query === undefined ? [] : query.split('&');
  return [
    ...headers.map((_, index) => ({ ...request, headers: headers.toSpliced(index, 1) })),
    ...(query === undefined ? [] : [{ ...request, path: plain }]),
    ...(parts.length > 1 && parts.length < 20
      ? parts.map((_, index) => ({ ...request, path: `${plain}?${parts.toSpliced(index, 1).join('&')}` }))
      : []),
    ...(body === undefined ? [] : [{ ...request, body: undefined }]),
    ...smallerValues(body).map((value) => ({ ...request, body: Buffer.from(JSON.stringify(value)) })),
  ];
}

function smallerValues(body: Buffer | undefined): unknown[] {
  const value = body === undefined ? undefined : parse(body);
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return [];
  const entries = Object.entries(value);
  return entries.map((_, index) => Object.fromEntries(entries.toSpliced(index, 1)));
}
