/** Keys of Postgres's advisory locks: any numbers, each once, the same in every version that may run beside this one. */
export const ADVISORY_LOCKS = {
  /** Of the process that migrates. */
  migration: 7_246_011,
  /** With the hash of a launch's id: registrations of one launch, one after the other. */
  registration: 7_246_012,
  /** Of the process that deletes expired rows. */
  retention: 7_246_013,
  /** Requests that count against ceilings of instances. */
  instanceLimits: 7_246_014,
  /** Requests that count webhooks of a token. */
  webhookLimits: 7_246_015,
} as const;
