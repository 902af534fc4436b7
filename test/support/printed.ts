import type { Stack } from './stack.ts';

/** All that is stored of what a job's containers printed, in its order; from the first process that answers. */
export async function printedBy(stack: Stack, job: string, query: Record<string, string> = {}): Promise<string[]> {
  const parameters = new URLSearchParams({ since: '1970-01-01T00:00:00Z', ...query });
  const text = await stack.text(`/v1/jobs/${job}/logs?${parameters.toString()}`);
  return text === '' ? [] : text.replace(/\n$/, '').split('\n');
}
