import type { JobDefinition } from '../../jobs/job-definition.js';

/**
 * Why a health check does not pass, as text on what to check. Agents report curl's exit code, which is appended:
 * https://everything.curl.dev/cmdline/exitcode.html
 * @param detail what the agent saw, like `HTTP 500` or `connection refused (curl 7)`
 */
export function healthMessage(detail: string, { health, ports }: Pick<JobDefinition, 'health' | 'ports'>): string {
  if (health === undefined) return detail;
  const port = portOf(health.port, ports);
  if (detail.startsWith('HTTP ')) return `${port} answers GET ${health.path} with ${detail}`;
  const code = /\(curl (\d+)\)$/.exec(detail)?.[1] ?? '';
  const words = WORDS[code];
  return words === undefined ? detail : `${words(port, health)} (curl ${code})`;
}

type Health = NonNullable<JobDefinition['health']>;

const LATER = ({ startPeriodSeconds }: Health): string =>
  `or listens later than health.startPeriodSeconds allows (${startPeriodSeconds})`;

const WORDS: Readonly<Record<string, (port: string, health: Health) => string>> = {
  1: notHttp,
  7: (port, health) =>
    `nothing answers on ${port}: connections are refused. The program listens on another port, on 127.0.0.1 only (it must be 0.0.0.0), ${LATER(health)}`,
  8: notHttp,
  28: (port, { timeoutSeconds }) => `${port} did not answer within health.timeoutSeconds (${timeoutSeconds})`,
  52: closed,
  56: closed,
};

function notHttp(port: string): string {
  return `what answers on ${port} does not speak HTTP, as a health check must. Name another port, or leave health out: the container is then healthy as long as it runs`;
}

/** Docker itself accepts connections on the instance's port, and closes them if no process in the container listens. */
function closed(port: string, health: Health): string {
  return `nothing answers on ${port}: connections are closed without a response. The program listens on another port, on 127.0.0.1 only (it must be 0.0.0.0), does not speak HTTP, ${LATER(health)}`;
}

function portOf(host: number, ports: JobDefinition['ports']): string {
  const mapping = ports.find((port) => port.host === host);
  return mapping
    ? `container port ${mapping.container} (port ${host} of the instance)`
    : `port ${host} of the instance`;
}
