/** A rule, and the program without it. */
export type Rule = {
  readonly name: string;
  readonly file: string;
  /** Exactly once in the file. */
  readonly text: string;
  readonly broken: string;
  /** Each of them must notice. */
  readonly caughtBy: readonly Test[];
};

/** A test file; `only` = the tests of it that count, where the others would wait in vain for long. */
export type Test = { readonly file: string; readonly only?: string };

const HISTORIES: Test = { file: 'test/histories/histories.spec.ts' };
const JOB: Test = { file: 'src/scheduler/plan-job.spec.ts' };
const EVENT_ORDER: Test = { file: 'test/integration/event-order.spec.ts', only: 'the order of events' };
const FENCES: Test = { file: 'test/integration/fences.spec.ts' };

export const RULES: readonly Rule[] = [
  // What EC2 has done, as far as we can know
  {
    name: 'no-visibility-grace-for-launches',
    file: 'src/fleet/plan-launch.ts',
    text: 'if ((launch.calledMsAgo ?? 0) < VISIBILITY_MS) return { ...again, reason, message };',
    broken: '',
    caughtBy: [{ file: 'src/fleet/plan-launch.spec.ts' }, HISTORIES],
  },
  {
    name: 'no-visibility-grace-in-sweeps',
    file: 'src/fleet/plan-sweep.ts',
    text: 'return terminatedAt === null && launchedAt < before(startedAt, VISIBILITY_SECONDS);',
    broken: 'return terminatedAt === null && launchedAt <= startedAt;',
    caughtBy: [{ file: 'src/fleet/plan-sweep.spec.ts' }],
  },
  {
    name: 'gone-after-one-look',
    file: 'src/fleet/plan-sweep.ts',
    text: 'row.missingSince !== null &&\n    row.missingSince <= before(startedAt, MISSING_SECONDS) &&',
    broken: '',
    caughtBy: [{ file: 'src/fleet/plan-sweep.spec.ts' }],
  },
  {
    name: 'states-go-back',
    file: 'src/fleet/plan-sweep.ts',
    text: `if (from === 'terminated') return from;`,
    broken: '',
    caughtBy: [{ file: 'src/fleet/plan-sweep.spec.ts' }],
  },
  {
    name: 'unknown-outcome-is-failed',
    file: 'src/fleet/plan-launch.ts',
    text: `return { to: 'unknown', againMs, failure: null, reason, message, isVoid: false };`,
    broken: `return { to: 'failed', failure: kind, reason, message };`,
    caughtBy: [{ file: 'src/fleet/plan-launch.spec.ts' }, HISTORIES],
  },
  {
    name: 'refused-repeat-is-failed',
    file: 'src/fleet/plan-launch.ts',
    text: `return launch.status === 'unknown' ? lookUp : { to: 'failed', failure: kind, reason, message };`,
    broken: `return { to: 'failed', failure: kind, reason, message };`,
    caughtBy: [{ file: 'src/fleet/plan-launch.spec.ts' }, HISTORIES],
  },
  {
    name: 'throttled-repeat-was-never-called',
    file: 'src/fleet/plan-launch.ts',
    text: 'return { to: launch.status, againMs, failure: null, reason, message, isVoid: true };',
    broken: `return { to: 'planned', againMs, failure: null, reason, message, isVoid: true };`,
    caughtBy: [{ file: 'src/fleet/plan-launch.spec.ts' }, HISTORIES],
  },
  {
    name: 'client-token-of-the-shape',
    file: 'src/fleet/launcher.ts',
    text: 'ec2.runInstances(input, launch.id)',
    broken: 'ec2.runInstances(input, launch.shapeKey.slice(0, 36))',
    caughtBy: [{ file: 'test/integration/fleet.spec.ts', only: 'puts its tags on what it launches' }],
  },
  {
    name: 'client-token-of-the-try',
    file: 'src/fleet/launcher.ts',
    text: 'ec2.runInstances(input, launch.id)',
    broken: 'ec2.runInstances(input, `${launch.id}-${launch.tries}`)',
    caughtBy: [{ file: 'test/integration/fleet.spec.ts', only: 'repeats a launch whose answer was lost' }],
  },
  // What is launched and ended
  {
    name: 'launch-for-nobody',
    file: 'src/fleet/plan-launch.ts',
    text: `if (status === 'planned') return wanted < count ? 'withdraw' : 'call';`,
    broken: `if (status === 'planned') return 'call';`,
    caughtBy: [{ file: 'src/fleet/plan-launch.spec.ts' }, HISTORIES],
  },
  {
    name: 'launch-beside-an-open-one',
    file: 'src/fleet/plan-fleet.ts',
    text: 'if (needed <= 0 || launches.some(isOpen)) return wait(null);',
    broken: 'if (needed <= 0) return wait(null);',
    caughtBy: [{ file: 'src/fleet/plan-fleet.property.spec.ts' }, HISTORIES],
  },
  {
    name: 'boots-do-not-count',
    file: 'src/fleet/plan-fleet.ts',
    text: 'return open + young + Math.max(0, booting.length - young - waiting);',
    broken: 'return open;',
    caughtBy: [{ file: 'src/fleet/plan-fleet.spec.ts' }, HISTORIES],
  },
  {
    name: 'an-instance-for-all-in-line',
    file: 'src/fleet/plan-fleet.ts',
    text: `instanceId: ready[index]?.id ?? '',`,
    broken: `instanceId: ready[0]?.id ?? '',`,
    caughtBy: [{ file: 'src/fleet/plan-fleet.property.spec.ts' }],
  },
  {
    name: 'used-instances-are-spares-again',
    file: 'src/fleet/plan-fleet.ts',
    text: `if (instance.attempt === 'ended') return 'attempt-ended';`,
    broken: '',
    caughtBy: [{ file: 'src/fleet/plan-fleet.spec.ts' }],
  },
  {
    name: 'instances-that-never-register-stay',
    file: 'src/fleet/plan-fleet.ts',
    text: `return isWithin(instance.launchedAt, NEVER_REGISTERED_SECONDS, now) ? null : 'never-registered';`,
    broken: 'return null;',
    caughtBy: [{ file: 'src/fleet/plan-fleet.spec.ts' }, HISTORIES],
  },
  {
    name: 'unknown-instances-are-taken-in',
    file: 'src/fleet/plan-sweep.ts',
    text: '.filter((instance) => input.launches.has(launchOf(instance)))\n',
    broken: '\n',
    caughtBy: [
      { file: 'src/fleet/plan-sweep.spec.ts' },
      { file: 'test/integration/fleet-sweep.spec.ts', only: 'quarantines an instance' },
    ],
  },
  {
    name: 'quarantined-instances-are-terminated',
    file: 'src/fleet/plan-sweep.ts',
    text: 'if (row.quarantined || row.retireReason !== null) return null;',
    broken: 'if (row.retireReason !== null) return null;',
    caughtBy: [{ file: 'src/fleet/plan-sweep.spec.ts' }, HISTORIES],
  },
  // Who may write, and when
  {
    name: 'no-lock-on-jobs',
    file: 'src/scheduler/load-jobs.ts',
    text: 'LIMIT $1\n  FOR NO KEY UPDATE SKIP LOCKED`;',
    broken: 'LIMIT $1`;',
    caughtBy: [FENCES],
  },
  {
    name: 'waits-for-jobs-others-hold',
    file: 'src/scheduler/load-jobs.ts',
    text: 'LIMIT $1\n  FOR NO KEY UPDATE SKIP LOCKED`;',
    broken: 'LIMIT $1\n  FOR NO KEY UPDATE`;',
    caughtBy: [FENCES],
  },
  {
    name: 'stale-owner-writes',
    file: 'src/fleet/owner-lease.ts',
    text: 'WHERE cluster = $1 AND holder = $2 AND epoch = $3 AND expires_at > clock_timestamp() FOR SHARE`,',
    broken: `WHERE cluster = $1 AND $2 <> '' AND $3::bigint IS NOT NULL FOR SHARE\`,`,
    caughtBy: [{ file: 'test/integration/fleet-owner.spec.ts', only: 'changes nothing once another' }],
  },
  {
    name: 'take-over-during-a-write',
    file: 'src/fleet/owner-lease.ts',
    text: 'AND expires_at > clock_timestamp() FOR SHARE`,',
    broken: 'AND expires_at > clock_timestamp()`,',
    caughtBy: [{ file: 'test/integration/fleet-owner.spec.ts', only: 'holds off a take-over' }],
  },
  {
    name: 'budgets-full-after-a-crash',
    file: 'src/fleet/owner-lease.ts',
    text: `const tokens = holder === '' ? (budgets ?? {}) : {};`,
    broken: 'const tokens = budgets ?? {};',
    caughtBy: [{ file: 'test/integration/fleet-owner.spec.ts', only: 'begins with full budgets' }],
  },
  {
    name: 'assigns-what-is-leaving',
    file: 'src/fleet/apply-plans.ts',
    text: 'AND assigned = false AND retire_reason IS NULL\n',
    broken: '\n',
    caughtBy: [FENCES],
  },
  {
    name: 'assigns-to-an-ended-attempt',
    file: 'src/fleet/apply-plans.ts',
    text: `JOIN attempts a ON a.id = w.attempt_id AND a.phase = 'waiting'`,
    broken: 'JOIN attempts a ON a.id = w.attempt_id',
    caughtBy: [FENCES],
  },
  {
    name: 'retires-what-was-just-assigned',
    file: 'src/fleet/apply-plans.ts',
    text: `AND (l.reason = 'attempt-ended' OR i.assigned = false)\n`,
    broken: '\n',
    caughtBy: [FENCES],
  },
  {
    name: 'wake-ups-of-shapes-get-lost',
    file: 'src/fleet/apply-plans.ts',
    text: 'ELSE LEAST(s.next_pass_at, p."recheckAt") END,',
    broken: 'ELSE p."recheckAt" END,',
    caughtBy: [FENCES],
  },
  {
    name: 'retired-instances-register',
    file: 'src/agent/registration-rules.ts',
    text: `if (instance?.isRetired) return refuse('instance-retired');`,
    broken: '',
    caughtBy: [{ file: 'src/agent/registration-rules.spec.ts' }],
  },
  // Silence
  {
    name: 'heals-on-silence-of-our-own',
    file: 'src/fleet/plan-silence.ts',
    text: 'Math.max(lastSeenAt.getTime(), listeningSince.getTime())',
    broken: 'Math.max(lastSeenAt.getTime(), listeningSince.getTime() * 0)',
    caughtBy: [
      { file: 'src/fleet/plan-silence.spec.ts' },
      { file: 'test/integration/fleet-silence.spec.ts', only: 'heals nobody' },
      HISTORIES,
    ],
  },
  {
    name: 'heals-when-all-are-silent',
    file: 'src/fleet/plan-silence.ts',
    text: 'return silent.length > Math.max(FEW, SHARE * total);',
    broken: 'return silent.length > total;',
    caughtBy: [
      { file: 'src/fleet/plan-silence.spec.ts' },
      { file: 'test/integration/fleet-silence.spec.ts', only: 'heals nobody' },
    ],
  },
  {
    name: 'spares-are-silent-when-we-were-away',
    file: 'src/fleet/plan-fleet.ts',
    text: 'return latest([lastSeenAt ?? registeredAt, listeningSince]);',
    broken: 'return latest([lastSeenAt ?? registeredAt, new Date(listeningSince.getTime() * 0)]);',
    caughtBy: [{ file: 'src/fleet/plan-fleet.spec.ts' }],
  },
  // What users asked for
  {
    name: 'cancel-not-kept',
    file: 'src/scheduler/plan-job.ts',
    text: `if (candidate.cancelRequestedAt) return 'cancel-requested';`,
    broken: '',
    caughtBy: [JOB, HISTORIES],
  },
  {
    name: 'active-before-stable',
    file: 'src/scheduler/plan-candidate.ts',
    text: 'if (stableAt && draft.now >= stableAt) activate(draft, deployment, current);',
    broken: 'if (stableAt) activate(draft, deployment, current);',
    caughtBy: [JOB, HISTORIES],
  },
  {
    name: 'active-retired-at-once',
    file: 'src/scheduler/plan-leaving.ts',
    text: 'const isDue = isEnded(status) || isStopping || !deadlineAt || draft.now >= deadlineAt;',
    broken: `const isDue = status !== 'queued';`,
    caughtBy: [JOB],
  },
  {
    name: 'two-heals-at-once',
    file: 'src/scheduler/plan-active.ts',
    text: 'if (going) return `attempt',
    broken: 'if (going && waitsFor === going.id) return `attempt',
    caughtBy: [JOB, HISTORIES],
  },
  {
    name: 'old-ones-stopped-while-the-new-one-ails',
    file: 'src/scheduler/plan-active.ts',
    text: 'if (good) return settle(draft, deployment, good);',
    broken: `for (const other of inService(draft, deployment)) if (other.id !== good?.id) release(draft, deployment, other, 'not-needed');
  if (good) return settle(draft, deployment, good);`,
    caughtBy: [JOB],
  },
  {
    name: 'our-troubles-count-against-the-job',
    file: 'src/scheduler/plan-leaving.ts',
    text: `counted: reason !== 'agent-unresponsive'`,
    broken: 'counted: true',
    caughtBy: [JOB],
  },
  {
    name: 'throttling-counts-as-no-capacity',
    file: 'src/scheduler/plan-attempt.ts',
    text: 'BUSY_REASONS.has(verdict.reason)',
    broken: 'BUSY_REASONS.has(verdict.reason.toUpperCase())',
    caughtBy: [JOB],
  },
  // Every state has a way out
  {
    name: 'no-wake-up-for-the-deadline',
    file: 'src/scheduler/plan-candidate.ts',
    text: 'draft.wakeAt(deadlineAt);\n  if (!attempt)',
    broken: 'if (!attempt)',
    caughtBy: [HISTORIES],
  },
  {
    name: 'a-stop-without-an-end',
    file: 'src/scheduler/plan-leaving.ts',
    text: 'if (isLost || flush?.answeredAt || draft.now >= waitsUntil)',
    broken: 'if (isLost || flush?.answeredAt)',
    caughtBy: [HISTORIES],
  },
  {
    name: 'an-attempt-ends-without-its-logs',
    file: 'src/scheduler/plan-leaving.ts',
    text: `if (!flush && latest(attempt, 'stop')?.answeredAt) {`,
    broken: `if (latest(attempt, 'stop')?.answeredAt) return draft.move(deployment, attempt, 'ended');\n  if (!flush) {`,
    caughtBy: [JOB, HISTORIES],
  },
  {
    name: 'a-failed-attempt-ends-without-its-logs',
    file: 'src/scheduler/plan-leaving.ts',
    text: `if (hasStarted(attempt) || reason === 'deadline-exceeded')`,
    broken: `if (reason === 'health-check-failed' || reason === 'deadline-exceeded')`,
    caughtBy: [JOB, HISTORIES],
  },
  {
    name: 'untaken-orders-wait-for-ever',
    file: 'src/scheduler/plan-attempt.ts',
    text: `if (now < deadline) return stay('assigned', deadline);`,
    broken: `if (now < deadline || deadline) return stay('assigned', deadline);`,
    caughtBy: [JOB, HISTORIES],
  },
  {
    name: 'a-missed-exit-is-final',
    file: 'src/scheduler/plan-healing.ts',
    text: `(mayBeDown(attempt, wait) ? [docker('start', startRequest())] : [])`,
    broken: '[]',
    caughtBy: [JOB],
  },

  // Events
  {
    name: 'sequencers-do-not-take-turns',
    file: 'src/events/sequencer.ts',
    text: `await transaction.prepared('events-lock', LOCK);`,
    broken: '',
    caughtBy: [EVENT_ORDER],
  },
  {
    name: 'positions-are-committed-unheard',
    file: 'src/events/sequencer.ts',
    text: `RETURNING pg_notify($2, $3)`,
    broken: `RETURNING $2::text, $3::text`,
    caughtBy: [EVENT_ORDER],
  },
  {
    name: 'events-are-sequenced-from-the-end',
    file: 'src/events/sequencer.ts',
    text: `ORDER BY id LIMIT $1`,
    broken: `ORDER BY id DESC LIMIT $1`,
    caughtBy: [EVENT_ORDER],
  },
  {
    name: 'deleted-events-leave-no-mark',
    file: 'src/scheduler/retention.ts',
    text: `UPDATE event_positions SET deleted_through = (SELECT max(position) FROM deleted)`,
    broken: `UPDATE event_positions SET deleted_through = deleted_through`,
    caughtBy: [{ file: 'test/integration/retention.spec.ts', only: 'deletes old events' }],
  },
];
