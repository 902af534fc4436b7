/** One line a container printed; `time` is Docker's RFC 3339 timestamp. */
export type LogLine = { stream: 'stdout' | 'stderr'; time?: string; line: string };
