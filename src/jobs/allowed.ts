import type { Allow } from '../http/caller.js';
import type { Config } from '../config/config.js';
import { Problem, type ProblemError } from '../http/problem.js';
import { summarize } from '../http/validation-errors.js';
import { repositoryOf } from './image-reference.js';
import type { JobDefinition } from './job-definition.js';
import { shown } from './route-rules.js';

/** The operator's lists: what the jobs of all callers may name. */
export type OperatorLists = Pick<
  Config['fleet'],
  'defaultAmi' | 'allowedAmis' | 'allowedSubnets' | 'allowedSecurityGroups' | 'allowedProfiles'
>;

/** What a caller deploys, or stores for a later deployment. */
export type Wanted = { readonly image?: string | undefined; readonly definition: Pick<JobDefinition, 'instance'> };

/**
 * Checks all that a caller deploys or stores, also a copy of an earlier deployment: lists may have become shorter.
 * @param allow of the caller's token; null = only the operator's lists apply
 * @throws Problem forbidden, with pointers as into the body of a deployment
 */
export function checkAllowed(wanted: Wanted, lists: OperatorLists, allow: Allow | null): void {
  const errors = [...findBeyondLists(wanted, lists), ...(allow === null ? [] : findBeyondToken(wanted, allow))];
  if (errors.length > 0) throw new Problem('forbidden', summarize(errors), { errors });
}

/** Whether the operator's lists allow new deployments this AMI; active deployments on another AMI still heal. */
export function isAmiAllowed(ami: string | undefined, lists: Pick<OperatorLists, 'defaultAmi' | 'allowedAmis'>) {
  return ami === undefined || ami === lists.defaultAmi || lists.allowedAmis.includes(ami);
}

function findBeyondLists({ definition: { instance } }: Wanted, lists: OperatorLists): Fault[] {
  const { ami, subnetIds, securityGroupIds, profile } = instance;
  const { allowedAmis, allowedSubnets, allowedSecurityGroups, allowedProfiles } = lists;
  return [
    ...(isAmiAllowed(ami, lists) ? [] : [fault('instance/ami', allowedAmis, 'ALLOWED_AMIS')]),
    ...findUnlisted('instance/subnetIds', subnetIds, allowedSubnets, 'ALLOWED_SUBNETS'),
    ...findUnlisted('instance/securityGroupIds', securityGroupIds, allowedSecurityGroups, 'ALLOWED_SECURITY_GROUPS'),
    ...(profile === undefined || allowedProfiles.includes(profile)
      ? []
      : [fault('instance/profile', allowedProfiles, 'ALLOWED_PROFILES')]),
  ];
}

function findBeyondToken({ image, definition: { instance } }: Wanted, allow: Allow): Fault[] {
  const { registries, amis, profiles, securityGroups, subnets, types, maxDiskGiB } = allow;
  const { ami, profile, securityGroupIds, subnetIds, diskGiB } = instance;
  const faults: Fault[] = [];
  if (image !== undefined && registries && !registries.some((entry) => isWithin(image, entry))) {
    faults.push(fault('image', registries, TOKEN, 'come from'));
  }
  if (ami !== undefined && amis && !amis.includes(ami)) faults.push(fault('instance/ami', amis, TOKEN));
  if (profile !== undefined && profiles && !profiles.includes(profile)) {
    faults.push(fault('instance/profile', profiles, TOKEN));
  }
  faults.push(...findOutside('instance/securityGroupIds', securityGroupIds, securityGroups));
  faults.push(...findOutside('instance/subnetIds', subnetIds, subnets));
  const isType = (type: string) => types?.some((entry) => entry === type || isOfFamily(type, entry)) ?? true;
  instance.types.forEach((type, index) => {
    if (!isType(type)) faults.push(fault(`instance/types/${index}`, types ?? [], TOKEN));
  });
  if (maxDiskGiB !== undefined && diskGiB > maxDiskGiB) {
    faults.push({ pointer: '#/instance/diskGiB', detail: `must be at most ${maxDiskGiB}: ${TOKEN}` });
  }
  return faults;
}

type Fault = ProblemError & { readonly pointer: string };

/** Ends a sentence about what was refused. */
const TOKEN = 'this token allows no more';

function fault(path: string, allowed: readonly string[], whose: string, verb = 'be'): Fault {
  const detail = allowed.length === 0 ? `must be left out: ${whose} has none` : `must ${verb} one of ${shown(allowed)}`;
  return { pointer: `#/${path}`, detail: allowed.length === 0 ? detail : `${detail}: ${whose}` };
}

function findUnlisted(path: string, ids: readonly string[], allowed: readonly string[], whose: string): Fault[] {
  return ids.flatMap((id, index) => (allowed.includes(id) ? [] : [fault(`${path}/${index}`, allowed, whose)]));
}

/** A job that names none gets the operator's, which this token may not allow. */
function findOutside(path: string, ids: readonly string[], allowed: readonly string[] | undefined): Fault[] {
  if (allowed === undefined) return [];
  if (ids.length === 0 && allowed.length > 0) return [fault(path, allowed, TOKEN, 'name at least')];
  return findUnlisted(path, ids, allowed, TOKEN);
}

/** @param entry a host, or a host with the beginning of a path, up to a slash or the end */
function isWithin(image: string, entry: string): boolean {
  const repository = repositoryOf(image);
  return repository === entry || repository.startsWith(`${entry.replace(/\/$/, '')}/`);
}

function isOfFamily(type: string, entry: string): boolean {
  return entry.endsWith('.*') && type.startsWith(entry.slice(0, -1));
}
