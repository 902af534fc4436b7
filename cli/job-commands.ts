import type { Command } from 'commander';
import type { Job } from '../client/index.js';
import { answerOf, findAnswer } from './answers.js';
import { Failure } from './failure.js';
import {
  deploymentNumber,
  goalOption,
  type OpenSession,
  type WaitOptions,
  wholeNumber,
  withTimeout,
  withWaiting,
} from './options.js';
import type { Goal } from './outcome.js';
import { allPages, printList } from './lists.js';
import type { Session } from './session.js';
import { DEPLOYMENT_COLUMNS, deploymentLines, deploymentRow, JOB_COLUMNS, jobLines, jobRow } from './views.js';
import { awaitOutcome, untilGone, untilStopped } from './watch.js';

export function addJobCommands(program: Command, open: OpenSession): void {
  program
    .command('jobs')
    .summary('list jobs')
    .option('--status <status>', 'only jobs in this status')
    .action(async ({ status }: { status?: Job['status'] }, self: Command) => {
      const session = open(self);
      const query = status === undefined ? {} : { status };
      const jobs = allPages((page) => session.scheduler.jobs.list({ query: { ...query, ...page } }));
      await printList(session, jobs, { columns: JOB_COLUMNS, rowOf: jobRow });
    });

  program
    .command('status')
    .summary('show a job, or one of its deployments')
    .argument('<job>')
    .argument('[deployment]', 'number of a deployment', deploymentNumber)
    .action(async (name: string, number: number | undefined, _options: object, self: Command) => {
      await (number === undefined ? showJob(open(self), name) : showDeployment(open(self), name, number));
    });

  program
    .command('deployments')
    .summary('list the deployments of a job, newest first')
    .argument('<job>')
    .option('-n, --limit <number>', 'how many', wholeNumber, 20)
    .action(async (name: string, { limit }: { limit: number }, self: Command) => {
      const session = open(self);
      const { deployments } = session.scheduler;
      const found = allPages((page) => deployments.list({ path: { name }, query: page }), limit);
      await printList(session, found, { columns: DEPLOYMENT_COLUMNS, rowOf: deploymentRow });
    });

  withTimeout(
    program
      .command('wait')
      .summary('wait for a deployment, and exit by its outcome')
      .argument('<job>')
      .argument('[deployment]', 'number of a deployment; default: the latest', deploymentNumber)
      .addOption(goalOption()),
  ).action(
    async (
      name: string,
      number: number | undefined,
      { until, timeout }: { until: Goal | 'gone'; timeout: number },
      self: Command,
    ) => {
      const session = open(self);
      if (until === 'gone') {
        await untilGone(session, name, timeout);
        printGone(session, name);
        return;
      }
      const deployment = number ?? (await latestOf(session, name));
      await awaitOutcome(session, { job: name, number: deployment }, { goal: until, timeoutSeconds: timeout });
    },
  );

  withWaiting(
    program
      .command('stop')
      .summary('stop a job: its container gets SIGTERM, its instance is terminated, the job stays')
      .argument('<job>'),
    'its instance is given up',
  ).action(async (name: string, { wait, timeout }: WaitOptions, self: Command) => {
    const session = open(self);
    await answerOf(session.scheduler.jobs.stop({ path: { name } }));
    if (wait) await untilStopped(session, name, timeout);
    await showJob(session, name);
  });

  withWaiting(
    program
      .command('delete')
      .summary('delete a job and its instance')
      .argument('<job>')
      .option('-y, --yes', 'do not ask'),
    'it is gone',
  ).action(async (name: string, { wait, timeout, yes }: WaitOptions & { yes?: boolean }, self: Command) => {
    const session = open(self);
    if (!yes) await confirm(session, name);
    const job = await answerOf(session.scheduler.jobs.delete({ path: { name } }));
    if (wait) await untilGone(session, name, timeout);
    if (wait) printGone(session, name);
    else printJob(session, job);
  });
}

/** @throws Failure when there is none */
export async function latestOf({ scheduler }: Session, name: string): Promise<number> {
  const { latestDeployment } = await answerOf(scheduler.jobs.get({ path: { name } }));
  if (latestDeployment === null) throw new Failure('conflict', `${name} has no deployment yet`);
  return latestDeployment;
}

/** The job, and its latest deployment if another one serves. */
async function showJob(session: Session, name: string): Promise<void> {
  const { scheduler, terminal, isJson } = session;
  const job = await answerOf(scheduler.jobs.get({ path: { name } }));
  printJob(session, job);
  const { latestDeployment: number, activeDeployment } = job;
  const isTroubled = job.status !== 'running' && job.status !== 'stopped';
  if (isJson || number === null || (number === activeDeployment && !isTroubled)) return;
  const latest = await findAnswer(scheduler.deployments.get({ path: { name, number } }));
  if (latest) deploymentLines(latest, terminal.style, Date.now()).forEach(terminal.out);
}

async function showDeployment({ scheduler, terminal, isJson }: Session, name: string, number: number): Promise<void> {
  const deployment = await answerOf(scheduler.deployments.get({ path: { name, number } }));
  if (isJson) terminal.json(deployment);
  else deploymentLines(deployment, terminal.style, Date.now()).forEach(terminal.out);
}

function printJob({ terminal, isJson }: Session, job: Job): void {
  if (isJson) terminal.json(job);
  else jobLines(job, terminal.style, Date.now()).forEach(terminal.out);
}

function printGone({ terminal, isJson }: Session, name: string): void {
  if (isJson) terminal.json({ name, status: 'gone' });
  else terminal.out(`${name} is gone`);
}

async function confirm({ terminal, signal }: Session, name: string): Promise<void> {
  const answer = await terminal.ask(`Delete ${name}, with its instance and its history? [y/N] `, signal);
  if (answer === undefined) throw new Failure('usage', `delete ${name}? There is no terminal to confirm it: use --yes`);
  if (!/^y(es)?$/i.test(answer.trim())) throw new Failure('usage', 'not deleted');
}
