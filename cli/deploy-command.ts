import { type Command, Option } from 'commander';
import type { Job } from '../client/index.js';
import { answerOf, findAnswer } from './answers.js';
import { Failure } from './failure.js';
import {
  clearing,
  type Definition,
  type DefinitionOptions,
  definitionOf,
  type JobFile,
  readJobFile,
  replacing,
  type SecretOptions,
  secretsOf,
} from './job-input.js';
import {
  collect,
  onlyOnce,
  type OpenSession,
  positiveNumber,
  type WaitOptions,
  wholeNumber,
  withWaiting,
} from './options.js';
import type { Environment, Session } from './session.js';
import { awaitOutcome, type DeploymentName } from './watch.js';

type DeployOptions = DefinitionOptions &
  SecretOptions &
  WaitOptions & { readonly file?: string; readonly save?: boolean; readonly create: boolean };

type Wanted = {
  readonly name: string;
  readonly image: string | undefined;
  readonly file: JobFile | undefined;
  readonly definition: Definition;
  readonly secrets: Readonly<Record<string, string>>;
  readonly save: boolean;
};

export function addDeploy(
  program: Command,
  open: OpenSession,
  { environment, command }: { readonly environment: Environment; readonly command: readonly string[] },
): void {
  const deployCommand = program
    .command('deploy')
    .summary('deploy an image, and make the job if there is none')
    .description(
      'Deploys an image to a job, and waits until it is active or has failed. Makes the job if there is none of this name. ' +
        'On an existing job the options are for this deployment only, unless --save stores them; --file is always stored, and replaces the job’s definition.',
    )
    .argument('<job>', 'name of the job')
    .argument('[image]', 'Docker image; default: that of the file, or of the latest deployment')
    .usage('[options] <job> [image] [-- command...]')
    .addHelpText('after', '\nWhat follows -- replaces the CMD of the image.')
    .option('-f, --file <file>', 'the job as JSON, as POST /v1/jobs accepts it')
    .option(
      '-e, --env <name=value>',
      'variable of the container, visible in responses; NAME alone copies that of the environment; repeatable',
      collect,
    )
    .option('--env-file <file>', 'such variables, as `docker run --env-file` reads them; repeatable', collect)
    .option('-s, --secret <name>', 'secret of the container, its value from this variable of the environment', collect)
    .option('--secret-stdin <name>', 'secret, its value from standard input', onlyOnce)
    .option('--secrets-file <file>', 'secrets, read like --env-file; repeatable', collect)
    .option('-p, --port <host:container>', 'published port; 80 alone is 80:80; repeatable', collect)
    .option('--route-port <container>', 'which --port the job’s URL leads to, where there are several', wholeNumber)
    .option('--host <name>', 'host that leads to the job beside its URL; repeatable', collect)
    .option('--allow-from <network>', 'whose callers reach the job by its URL, like 192.0.2.0/24; repeatable', collect)
    .option('--no-route', 'no URL')
    .option('--health <path>', 'probe of the first --port; with another host port in front, like 8080/health')
    .option('--memory <MiB>', 'memory limit of the container', wholeNumber)
    .option('--cpus <cores>', 'CPU limit of the container', positiveNumber)
    .option('--init', 'Docker’s own init as process 1, for images that do not reap children')
    .option('--no-new-privileges', 'no sudo or setuid program in the container gets more privileges')
    .option('--type <type>', 'EC2 instance type; repeatable, tried in order', collect)
    .addOption(new Option('--market <market>', 'how the instance is bought').choices(['on-demand', 'spot']))
    .option('--save', 'store the options in the job, for later deployments too')
    .option('--no-create', 'fail if there is no such job');
  withWaiting(deployCommand, 'it is active or has failed').action(
    async (name: string, image: string | undefined, options: DeployOptions, self: Command) => {
      const session = open(self);
      const warn = (message: string) => session.terminal.note(`warning: ${message}`);
      const surroundings = { environment, stdin: process.stdin, warn };
      const file = options.file === undefined ? undefined : readJobFile(options.file, name);
      const wanted: Wanted = {
        name,
        image: image ?? file?.image,
        file,
        definition: definitionOf(options, command, surroundings),
        secrets: await secretsOf(options, surroundings),
        save: options.save ?? false,
      };
      const begun = await deploy(session, wanted, options.create);
      await report(session, begun, options);
    },
  );
}

/** The deployment as the result of a command: waited for, or as it is now. */
export async function report(session: Session, begun: DeploymentName, { wait, timeout }: WaitOptions): Promise<void> {
  if (wait) {
    await awaitOutcome(session, begun, { goal: 'settled', timeoutSeconds: timeout });
    await showUrl(session, begun.job);
    return;
  }
  const { scheduler, terminal, isJson } = session;
  const deployment = await answerOf(scheduler.deployments.get({ path: { name: begun.job, number: begun.number } }));
  if (isJson) terminal.json(deployment);
  else terminal.out(`${begun.job} #${begun.number} ${deployment.status}`);
}

async function showUrl({ scheduler, terminal, isJson, isQuiet }: Session, name: string): Promise<void> {
  if (isJson || isQuiet) return;
  const job = await findAnswer(scheduler.jobs.get({ path: { name } }));
  if (job?.url != null) terminal.out(job.url);
}

async function deploy(session: Session, wanted: Wanted, mayCreate: boolean): Promise<DeploymentName> {
  const job = await findAnswer(session.scheduler.jobs.get({ path: { name: wanted.name } }));
  if (job === undefined && !mayCreate) throw new Failure('not-found', `there is no job ${wanted.name}`);
  const deployment = job === undefined ? await create(session, wanted) : await deployTo(session, job, wanted);
  const { terminal, isQuiet } = session;
  if (!isQuiet) terminal.note(`${deployment.job} #${deployment.number} ${wanted.image ?? ''}`.trimEnd());
  return deployment;
}

async function create(session: Session, wanted: Wanted): Promise<DeploymentName> {
  const { name, image, file, definition, secrets } = wanted;
  if (image === undefined) throw new Failure('usage', `there is no job ${name} yet: give the image to deploy`);
  const body = { name, ...file, ...definition, ...envOf(wanted), image, secrets };
  const job = await answerOf(session.scheduler.jobs.create({ body }));
  if (!session.isQuiet) session.terminal.note(`made the job ${name}`);
  return { job: job.name, number: job.latestDeployment ?? 1 };
}

/** Options add to the file's variables; of anything else they replace the file's. */
function envOf({ file, definition }: Wanted): Pick<JobFile, 'env'> {
  return file?.env || definition.env ? { env: { ...file?.env, ...definition.env } } : {};
}

async function deployTo(session: Session, job: Job, wanted: Wanted): Promise<DeploymentName> {
  const { scheduler } = session;
  const { name, image, file, definition, secrets, save } = wanted;
  const path = { name };
  if (file !== undefined) await makeItSo(session, job, file);
  const changes = { ...definition, ...(Object.keys(secrets).length > 0 && { secrets }) };
  if (save) await answerOf(scheduler.jobs.patch({ path, body: changes }));
  const body = { ...(image !== undefined && { image }), ...(!save && changes) };
  const deployment = await answerOf(scheduler.deployments.create({ path, body }));
  if (!save) noteOnlyNow(session, Object.keys(changes));
  return { job: deployment.job, number: deployment.number };
}

function noteOnlyNow({ terminal, isQuiet }: Session, fields: readonly string[]): void {
  if (fields.length === 0 || isQuiet) return;
  terminal.note(`${fields.join(', ')}: for this deployment only; --save stores it in the job`);
}

/** Makes the job equal to the file. */
async function makeItSo({ scheduler }: Session, job: Job, file: JobFile): Promise<void> {
  const { kind } = file;
  if (kind !== undefined && kind !== job.kind) {
    throw new Failure('conflict', `${job.name} is a ${job.kind}, and the file says ${kind}: make another job`);
  }
  const path = { name: job.name };
  const first = clearing(job, file);
  if (first) await answerOf(scheduler.jobs.patch({ path, body: first }));
  await answerOf(scheduler.jobs.patch({ path, body: replacing(job, file) }));
}
