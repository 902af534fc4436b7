import type { Command } from 'commander';
import type { Deployment } from '../client/index.js';
import { answerOf } from './answers.js';
import { report } from './deploy-command.js';
import { Failure } from './failure.js';
import { latestOf } from './job-commands.js';
import { deploymentNumber, type OpenSession, type WaitOptions, withWaiting } from './options.js';
import type { Session } from './session.js';
import { waitFor } from './watch.js';

const ACTIVE_OR_FAILED = 'it is active or has failed';

export function addDeploymentCommands(program: Command, open: OpenSession): void {
  withWaiting(
    program
      .command('rollback')
      .summary('deploy again what ran before')
      .description(
        'Deploys again what ran before the active deployment. A second rollback undoes the first; --to goes to any other. While a newer deployment than the active one failed, was cancelled or is on its way there is nothing to undo, and only --to goes back.',
      )
      .argument('<job>')
      .option('--to <deployment>', 'default: the newest before the active one that was active', deploymentNumber),
    ACTIVE_OR_FAILED,
  ).action(async (name: string, options: WaitOptions & { to?: number }, self: Command) => {
    const body = options.to === undefined ? {} : { to: options.to };
    const session = open(self);
    await begin(session, options, ({ scheduler }) => scheduler.deployments.rollback({ path: { name }, body })).catch(
      (error: unknown) => {
        if (!(error instanceof Failure) || error.problem?.type !== '/problems/nothing-to-roll-back') throw error;
        const advice = `scheduler rollback ${name} --to NUMBER goes to one that was active: scheduler deployments ${name}`;
        throw error.with(advice);
      },
    );
  });

  withWaiting(
    program.command('restart').summary('run the active deployment again on a fresh instance').argument('<job>'),
    ACTIVE_OR_FAILED,
  ).action(async (name: string, options: WaitOptions, self: Command) => {
    await begin(open(self), options, ({ scheduler }) => scheduler.deployments.restart({ path: { name } }));
  });

  withWaiting(program.command('start').summary('start a stopped job').argument('<job>'), ACTIVE_OR_FAILED).action(
    async (name: string, options: WaitOptions, self: Command) => {
      await begin(open(self), options, ({ scheduler }) => scheduler.deployments.start({ path: { name } }));
    },
  );

  withWaiting(
    program
      .command('cancel')
      .summary('cancel a deployment that is not active yet')
      .argument('<job>')
      .argument('[deployment]', 'default: the latest', deploymentNumber),
    'it has ended',
  ).action(async (name: string, number: number | undefined, options: WaitOptions, self: Command) => {
    const session = open(self);
    const path = { name, number: number ?? (await latestOf(session, name)) };
    const answer = await answerOf(session.scheduler.deployments.cancel({ path }));
    const { wait, timeout } = options;
    const watch = { goal: 'settled', timeoutSeconds: timeout } as const;
    reportCancelled(session, wait ? await waitFor(session, { job: name, number: path.number }, watch) : answer, wait);
  });
}

async function begin(
  session: Session,
  options: WaitOptions,
  call: (session: Session) => Parameters<typeof answerOf<Deployment>>[0],
): Promise<void> {
  const { job, number, image, copiedFrom } = await answerOf(call(session));
  const again = copiedFrom === null ? '' : `, again what #${copiedFrom} ran`;
  if (!session.isQuiet) session.terminal.note(`${job} #${number} ${image}${again}`);
  await report(session, { job, number }, options);
}

/** A cancelled deployment is a success here. */
function reportCancelled({ terminal, isJson }: Session, deployment: Deployment, isOver: boolean): void {
  const { job, number, status } = deployment;
  if (isJson) terminal.json(deployment);
  else terminal.out(`${job} #${number} ${isOver ? status : 'is being cancelled'}`);
  if (!isOver || status === 'cancelled') return;
  const exit = status === 'queued' || status === 'deploying' ? 'timed-out' : 'conflict';
  throw new Failure(exit, `${job} #${number} is not cancelled but ${status}`);
}
