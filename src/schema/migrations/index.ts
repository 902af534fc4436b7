import { Initial1800000000001 } from './0001-initial.js';
import { Adoption1800000000002 } from './0002-adoption.js';
import { Access1800000000003 } from './0003-access.js';
import { Secrets1800000000004 } from './0004-secrets.js';
import { Logs1800000000005 } from './0005-logs.js';
import { Events1800000000006 } from './0006-events.js';
import { Webhooks1800000000007 } from './0007-webhooks.js';
import { Limits1800000000008 } from './0008-limits.js';
import { Origins1800000000009 } from './0009-origins.js';
import { OrderAnswers1800000000010 } from './0010-order-answers.js';
import { BoundsOfTokens1800000000011 } from './0011-bounds-of-tokens.js';
import { RecentLaunches1800000000012 } from './0012-recent-launches.js';
import { ContainerPrivileges1800000000013 } from './0013-container-privileges.js';
import { OrderStreams1800000000014 } from './0014-order-streams.js';
import { Snapshots1800000000015 } from './0015-snapshots.js';
import { Routes1800000000016 } from './0016-routes.js';
import { Reach1800000000017 } from './0017-reach.js';

/** In order; a released migration is never edited. */
export const MIGRATIONS = [
  Initial1800000000001,
  Adoption1800000000002,
  Access1800000000003,
  Secrets1800000000004,
  Logs1800000000005,
  Events1800000000006,
  Webhooks1800000000007,
  Limits1800000000008,
  Origins1800000000009,
  OrderAnswers1800000000010,
  BoundsOfTokens1800000000011,
  RecentLaunches1800000000012,
  ContainerPrivileges1800000000013,
  OrderStreams1800000000014,
  Snapshots1800000000015,
  Routes1800000000016,
  Reach1800000000017,
];
