import { z } from 'zod';
import { DeploymentNumber } from '../deployments/deployment.schema.js';
import { pageOf } from '../http/pagination.js';
import { normalizeTime } from './stored-position.js';

/** Query of POST /agent/v1/orders/:number/logs. */
export const UploadQuery = z.object({
  since: z
    .string()
    .regex(/^\d{1,11}(\.\d{1,9})?$/, 'must be seconds since 1970')
    .default('0'),
});
export type UploadQuery = z.infer<typeof UploadQuery>;

const MAX_TAIL = 10_000;
/** A thousand lines of usual length are 200 kB of JSON. */
const MAX_LIMIT = 1_000;

const wholeNumber = (min: number, max: number) => z.coerce.number().int().min(min).max(max);

const flag = z.enum(['true', 'false'], 'must be true or false').transform((text) => text === 'true');

export const ReadLogs = z.strictObject({
  deployment: DeploymentNumber.optional().meta({
    description:
      'Number of a deployment. Default: the active one, else the latest that printed something; with `follow`, all later ones too.',
  }),
  attempt: DeploymentNumber.optional().meta({ description: 'Number of an attempt of the deployment. Default: all.' }),
  stream: z.enum(['stdout', 'stderr']).optional().meta({ description: 'Default: both.' }),
  tail: wholeNumber(0, MAX_TAIL)
    .optional()
    .meta({ description: 'So many of the latest lines. Default: 1000, with `since` all.' }),
  since: z.iso
    .datetime({ offset: true, error: 'must be a time as RFC 3339 has it' })
    .transform((text, context) => {
      const at = normalizeTime(text);
      if (at !== undefined) return at;
      context.addIssue('must be a time as RFC 3339 has it');
      return z.NEVER;
    })
    .optional()
    .meta({ description: 'Printed at or after this time (RFC 3339), by the clock of the instance.' }),
  follow: flag.prefault('false').meta({
    description:
      'Go on with what is printed from now on: until the deployment has ended, or without `deployment` until the job is gone.',
  }),
  timestamps: flag.prefault('false').meta({ description: 'Plain text only: begin lines with the time.' }),
  limit: wholeNumber(1, MAX_LIMIT).default(MAX_LIMIT).meta({ description: 'JSON only: lines of a page.' }),
  cursor: z.string().min(1).max(64).optional().meta({ description: 'JSON only: `nextCursor` of the page before.' }),
});
export type ReadLogs = z.infer<typeof ReadLogs>;

export const LogLineResponse = z
  .object({
    deployment: z.int().min(1),
    attempt: z.int().min(1),
    stream: z.enum(['stdout', 'stderr']),
    at: z
      .string()
      .meta({ description: 'When it was printed: RFC 3339 with nanoseconds, by the clock of the instance.' }),
    text: z.string(),
  })
  .meta({ id: 'LogLine' });
export type LogLineResponse = z.infer<typeof LogLineResponse>;

export const LogPage = pageOf(LogLineResponse).meta({ id: 'LogPage' });

/** A place in the log of a job: behind line `line`, of deployments from `fromDeployment` on. */
export type LogCursor = { readonly fromDeployment: number; readonly line: number };

/** Opaque to clients. */
export function formatCursor({ fromDeployment, line }: LogCursor): string {
  return `${fromDeployment}.${line}`;
}

/** @returns undefined for what is no cursor */
export function parseCursor(text: string): LogCursor | undefined {
  const [, fromDeployment, line] = /^([1-9]\d{0,9})\.(\d{1,15})$/.exec(text) ?? [];
  return line === undefined ? undefined : { fromDeployment: Number(fromDeployment), line: Number(line) };
}
