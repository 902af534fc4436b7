import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

/** `p50Ms` and `p99Ms` are NaN unless wrk is called with `--latency`. */
type Load = { readonly requests: number; readonly p50Ms: number; readonly p99Ms: number };

const MS = { us: 0.001, ms: 1, s: 1000 };

/** @throws Error for a load of which any request failed */
export async function wrk(args: readonly string[]): Promise<Load> {
  const { stdout } = await promisify(execFile)('wrk', args);
  const requests = Number(/(\d+) requests in/.exec(stdout)?.[1] ?? 0);
  if (requests === 0 || /Non-2xx or 3xx responses|Socket errors/.test(stdout))
    throw new Error(`the load failed:\n${stdout}`);
  return { requests, p50Ms: percentile(stdout, '50%'), p99Ms: percentile(stdout, '99%') };
}

function percentile(output: string, which: string): number {
  const [, value, unit] = new RegExp(`\\s${which}\\s+([\\d.]+)(us|ms|s)`).exec(output) ?? [];
  return Number(value) * MS[unit as keyof typeof MS];
}
