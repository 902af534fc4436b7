import { readdirSync, readFileSync } from 'node:fs';

/** Of Linux on all architectures Node runs on: the unit of /proc/<pid>/stat. */
const TICKS_A_SECOND = 100;

/** Milliseconds of processor time, user and system, that a process and its present children have used. */
export function processorMs(pid: number): number {
  return [pid, ...childrenOf(pid)].reduce((sum, one) => sum + ownMs(one), 0);
}

function childrenOf(pid: number): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((one) => statOf(one)[1] === String(pid));
}

function ownMs(pid: number): number {
  const fields = statOf(pid);
  return ((Number(fields[11] ?? 0) + Number(fields[12] ?? 0)) * 1000) / TICKS_A_SECOND;
}

/** The fields behind the name, which may hold spaces: state, parent …; empty when the process has ended. */
function statOf(pid: number): string[] {
  try {
    const text = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return text.slice(text.lastIndexOf(')') + 2).split(' ');
  } catch {
    return [];
  }
}
