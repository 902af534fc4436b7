import { spawn } from 'node:child_process';
import type { Command } from 'commander';
import type { Job } from '../client/index.js';
import { answerOf } from './answers.js';
import { Failure } from './failure.js';
import type { OpenSession } from './options.js';
import type { Environment } from './session.js';

export function addOpen(program: Command, open: OpenSession, environment: Environment): void {
  program
    .command('open')
    .summary('open the job’s URL in a browser')
    .description(
      'Prints the job’s URL, and opens it in a browser (BROWSER names the program) where this is a terminal.',
    )
    .argument('<job>')
    .action(async (name: string, _options: object, self: Command) => {
      const { scheduler, terminal, isJson } = open(self);
      const { url, urlReason } = await answerOf(scheduler.jobs.get({ path: { name } }));
      if (isJson) terminal.json({ name, url, urlReason });
      if (url === null) throw new Failure('conflict', `${name} has no URL`, { details: [whyNone(urlReason)] });
      if (isJson) return;
      terminal.out(url);
      if (terminal.isScreen) await openBrowser(url, environment['BROWSER'], terminal.note);
    });
}

/** A newer API may have reasons that are not known here. */
function whyNone(reason: string | null): string {
  if (reason === null) return 'it is on its way';
  return Object.hasOwn(URL_REASONS, reason) ? `${reason}: ${URL_REASONS[reason as UrlReason]}` : reason;
}

type UrlReason = NonNullable<Job['urlReason']>;
const URL_REASONS: Readonly<Record<UrlReason, string>> = {
  'no-domain': 'the operator has not set JOBS_URL',
  off: 'route is false',
  'no-ports': 'it publishes no port',
  'several-ports': 'it publishes several ports: --route-port names one of them',
  'reserved-name':
    'names that end in two hyphens and digits are kept for deployments, and those that read as an address lead there below a domain that is made of one',
  'not-http': 'what listens at its port does not answer HTTP',
  'route-unreachable': 'the ingress cannot connect to its port',
  deleting: 'it is being deleted',
  'not-deployed': 'it has no deployment yet',
  'next-deployment': 'it gets one with its next deployment',
  'host-still-draining': 'the name was another job’s until just now: it is free in less than a minute',
};

/** What opens an address in the browser of the one who uses this machine, with its arguments. None of them is a shell. */
const OPENERS: Readonly<Record<string, readonly string[]>> = {
  darwin: ['open'],
  win32: ['rundll32', 'url.dll,FileProtocolHandler'],
};

/** The address comes from a server: only one of the web is opened. */
async function openBrowser(address: string, browser: string | undefined, note: (line: string) => void): Promise<void> {
  const { protocol, href } = new URL(address);
  if (protocol !== 'http:' && protocol !== 'https:') throw new Failure('error', `${address} is no address of the web`);
  const [program = 'xdg-open', ...args] = browser ? [browser] : (OPENERS[process.platform] ?? []);
  await new Promise<void>((resolve) => {
    const opener = spawn(program, [...args, href], { stdio: 'ignore', detached: true });
    opener.once('spawn', resolve).once('error', ({ message }) => {
      note(`no browser could be opened: ${message}`);
      resolve();
    });
    opener.unref();
  });
}
