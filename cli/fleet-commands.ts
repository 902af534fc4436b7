import type { Command } from 'commander';
import type { Fleet, Instance } from '../client/index.js';
import { answerOf } from './answers.js';
import { allPages, printList } from './lists.js';
import type { OpenSession } from './options.js';
import { INSTANCE_COLUMNS, instanceRow } from './views.js';

type InstancesOptions = { readonly all?: boolean; readonly state?: Instance['state'] };
const OVER: readonly Instance['state'][] = ['terminated', 'gone'];

export function addFleetCommands(program: Command, open: OpenSession): void {
  program
    .command('instances')
    .summary('list EC2 instances')
    .option('-a, --all', 'terminated ones as well')
    .option('--state <state>', 'only those in this state, as EC2 last showed it')
    .action(async ({ all, state }: InstancesOptions, self: Command) => {
      const session = open(self);
      const query = state === undefined ? {} : { state };
      const found = allPages((page) => session.scheduler.fleet.instances({ query: { ...query, ...page } }));
      const isShown = (instance: Instance): boolean => all || state !== undefined || !OVER.includes(instance.state);
      await printList(session, only(found, isShown), { columns: INSTANCE_COLUMNS, rowOf: instanceRow });
    });

  program
    .command('fleet')
    .summary('show supply, demand and the owner')
    .action(async (_options: object, self: Command) => {
      const { scheduler, terminal, isJson } = open(self);
      const fleet = await answerOf(scheduler.fleet.overview());
      if (isJson) terminal.json(fleet);
      else fleetLines(fleet).forEach(terminal.out);
    });
}

async function* only<Item>(items: AsyncIterable<Item>, fits: (item: Item) => boolean): AsyncGenerator<Item> {
  for await (const item of items) if (fits(item)) yield item;
}

function fleetLines({ instances, demand, launches, owner }: Fleet): string[] {
  const counts = Object.entries(instances).map(([name, count]) => `${count} ${name}`);
  return [
    `instances  ${counts.join(', ')}`,
    `demand     ${demand} attempts wait for an instance`,
    `launches   ${launches.planned} planned, ${launches.unknown} unknown`,
    `owner      ${owner === null ? 'none' : `${owner.holder}, epoch ${owner.epoch}`}`,
  ];
}
