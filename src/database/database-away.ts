/** Codes of Node and Postgres that mean: Postgres is away, starting, stopping, or has no connection left. */
const DATABASE_AWAY = new Set([
  'ECONNREFUSED',
  'ECONNRESET',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EPIPE',
  'ETIMEDOUT',
  '53300', // too_many_connections
  '57P01', // admin_shutdown
  '57P02', // crash_shutdown
  '57P03', // cannot_connect_now
]);
/** Class 08 of https://www.postgresql.org/docs/current/errcodes-appendix.html: connection exceptions. */
const CONNECTION_EXCEPTION = /^08...$/;
/** pg gives these no code; texts from pg 8's client.js and pg-pool's index.js. */
const CONNECTION_LOST =
  /^(Connection terminated|timeout exceeded when trying to connect|Client has encountered a connection error|Query read timeout|Cannot use a pool after calling end)/;

/** Whether an error says that Postgres is away, and not that a statement is wrong: the failed work may be repeated. */
export function isDatabaseAway(error: unknown): boolean {
  // Not by class: errors made in another realm (under Jest those of Node itself) are errors as well.
  if (!Error.isError(error)) return false;
  if ('errors' in error && Array.isArray(error.errors))
    return error.errors.length > 0 && error.errors.every(isDatabaseAway);
  const code = 'code' in error && typeof error.code === 'string' ? error.code : '';
  // Postgres ends or refuses the connection with FATAL, whatever the reason; a failed statement is an ERROR.
  if ('severity' in error && error.severity === 'FATAL') return true;
  if (DATABASE_AWAY.has(code) || CONNECTION_EXCEPTION.test(code) || CONNECTION_LOST.test(error.message)) return true;
  // TypeORM wraps the driver's error.
  return 'driverError' in error && error.driverError !== error && isDatabaseAway(error.driverError);
}
