import { execFileSync, spawnSync } from 'node:child_process';
import { join } from 'node:path';
import type { RecordedCall } from './recording-proxy.ts';

/** What AWS's own models say of a call: nothing, or what is wrong with its request or its answer. */
export type Comparison = { readonly operation: string; readonly faults: readonly string[] };

/** Why calls cannot be checked here; undefined: they can. */
export function whyNoModels(): string | undefined {
  try {
    execFileSync('python3', ['-c', 'import botocore'], { stdio: 'ignore', timeout: 60_000 });
    return undefined;
  } catch {
    return "Python's botocore, which has AWS's models of its APIs, is not installed";
  }
}

/** Through botocore, in the order of the calls. */
export function compareWithModels(calls: readonly RecordedCall[]): Comparison[] {
  const input = JSON.stringify(calls);
  const { status, stdout, stderr } = spawnSync('python3', ['-B', join(import.meta.dirname, 'aws_shapes.py')], {
    input,
    encoding: 'utf8',
    maxBuffer: 64 * 1024 * 1024,
    timeout: 60_000,
  });
  if (status !== 0) throw new Error(`comparing with the models ended with ${status}: ${stderr}`);
  return JSON.parse(stdout) as Comparison[];
}
