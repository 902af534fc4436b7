type Page = { readonly items: readonly { readonly name: string }[]; readonly nextCursor: string | null };

/** A container waits for it before it is made. */
const PATIENCE_MS = 3_000;

/** Of all jobs of the API. @throws Error when it does not answer in time */
export async function jobNames(api: string): Promise<string[]> {
  const token = process.env['ADMIN_TOKEN'];
  const headers = token ? { authorization: `Bearer ${token}` } : {};
  const signal = AbortSignal.timeout(PATIENCE_MS);
  const names: string[] = [];
  for (let cursor: string | null = ''; cursor !== null;) {
    const query = new URLSearchParams({ limit: '200', ...(cursor !== '' && { cursor }) });
    const response = await fetch(`${api}/v1/jobs?${query.toString()}`, { headers, signal });
    if (!response.ok) throw new Error(`a list of jobs was answered ${response.status}`);
    const page = (await response.json()) as Page;
    names.push(...page.items.map(({ name }) => name));
    cursor = page.nextCursor;
  }
  return names;
}
