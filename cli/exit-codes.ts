/** How a command ended, for shells and pipelines. The table of docs/cli.md is compared with this one. */
export const EXITS = {
  ok: { code: 0, meaning: 'done; a deployment that was waited for became active' },
  error: { code: 1, meaning: 'something unexpected: an answer that is no Scheduler API’s, a 500' },
  usage: { code: 2, meaning: 'the command line, a file it names or this Node is wrong; nothing was sent' },
  failed: { code: 3, meaning: 'the deployment failed by its own fault: image, container, health check, deadline' },
  infrastructure: {
    code: 4,
    meaning: 'the deployment failed by no fault of its own: no instance, no capacity, a busy registry; try again',
  },
  cancelled: { code: 5, meaning: 'the deployment was cancelled, or a newer one took its place before it was active' },
  'timed-out': { code: 6, meaning: '`--timeout` ran out; what was begun goes on' },
  invalid: { code: 7, meaning: 'the API rejects the request (400, 413, 422 …) and says which field is wrong' },
  denied: { code: 8, meaning: 'no token, a wrong one, or one that may not do this (401, 403)' },
  'not-found': { code: 9, meaning: 'there is no such job, deployment, instance or token (404)' },
  conflict: { code: 10, meaning: 'not possible in the present state (409, 412), like a rollback with nothing before' },
  unreachable: { code: 11, meaning: 'the API does not answer, or answers 429 or 503, for as long as `--retry-for`' },
  interrupted: { code: 130, meaning: 'Ctrl-C; what was begun goes on' },
  terminated: { code: 143, meaning: 'SIGTERM; what was begun goes on' },
} as const satisfies Record<string, { code: number; meaning: string }>;

export type Exit = keyof typeof EXITS;
