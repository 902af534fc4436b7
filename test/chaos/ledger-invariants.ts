import { DATA_VOLUME, type House } from './house.ts';
import type { JobHistory } from './history.ts';
import type { Injector } from './injector.ts';
import { Checks, unwantedAt, type Verdict } from './invariants.ts';

/** What must hold for the whole run, not only for its end: from the cloud's calls and launches, and from what ran. */
export function checkLedger(
  house: House,
  histories: readonly JobHistory[],
  { throttled }: Pick<Injector, 'throttled'>,
): Verdict {
  const checks = new Checks();
  checkTokens(checks, house);
  checkContainers(checks, house, histories);
  checkBudgets(checks, house, throttled);
  checkSnapshots(checks, house);
  return checks.verdict();
}

/** Our own slowness is no fault: an order under way, an agent that was cut off, a frozen instance. */
const GRACE_MS = 200_000;

function checkTokens(checks: Checks, { cloud }: House): void {
  const launches = Map.groupBy(cloud.ledger.instances(), ({ clientToken }) => clientToken ?? '');
  for (const [token, instances] of launches) {
    checks.check('every instance comes from a launch with a token', token, token !== '', instances[0]?.id ?? '');
    const reservations = new Set(instances.map(({ reservationId }) => reservationId));
    checks.check('a token launches once', token, reservations.size === 1, [...reservations].join());
  }
  for (const { outcome, at, clientToken } of cloud.ledger.calls('RunInstances'))
    checks.check('a token is used with one input', clientToken ?? '', outcome !== 'IdempotentParameterMismatch', at);
}

function checkContainers(checks: Checks, { containers }: House, histories: readonly JobHistory[]): void {
  const started = containers.started();
  for (const [id, ran] of Map.groupBy(started, ({ instanceId }) => instanceId)) {
    const attempts = new Set(ran.map(({ attempt }) => attempt));
    checks.check('an instance serves one attempt', id, attempts.size === 1, [...attempts].join());
  }
  for (const [attempt, ran] of Map.groupBy(started, (one) => one.attempt)) {
    const instances = new Set(ran.map(({ instanceId }) => instanceId));
    checks.check('an attempt has one instance', attempt, instances.size === 1, [...instances].join());
  }
  const asked = new Map(histories.map((history) => [history.name, history]));
  for (const { greeting, image, instanceId, startedAtMs } of started) {
    const history = asked.get(greeting.split('.')[0] ?? '');
    if (!history?.isCertain) continue;
    const since = unwantedAt(history.everything, greeting, image);
    const isLate = since !== undefined && startedAtMs > since + GRACE_MS;
    checks.check(
      'what starts is wanted',
      instanceId,
      !isLate,
      `${greeting} ${(startedAtMs - (since ?? 0)) / 1000} s after`,
    );
  }
}

/** No run takes a day, and each new owner looks again. */
function checkSnapshots(checks: Checks, { cloud }: House): void {
  const made = cloud.ledger
    .calls('CreateSnapshot')
    .filter(({ outcome }) => outcome === 'ok' || outcome === 'answer-lost');
  const times = made.map(({ at }) => at).join();
  checks.check('the data volume has one snapshot a day', DATA_VOLUME, made.length <= 1, times);
}

/** The local cloud counts as EC2 does. A call that it refuses without a fault should not have been made. */
function checkBudgets(checks: Checks, { cloud }: House, throttled: Injector['throttled']): void {
  for (const { action, at, outcome } of cloud.ledger.calls()) {
    const time = Date.parse(at);
    const isAskedFor = throttled.some(([from, to]) => time >= from && time <= to + 100);
    const isWithin = outcome !== 'RequestLimitExceeded' || isAskedFor;
    checks.check('calls stay within EC2’s buckets', action, isWithin, `${action} at ${at}`);
  }
}
