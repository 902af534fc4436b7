import { Initial1800000000001 } from './0001-initial.js';
import { Access1800000000003 } from './0003-access.js';

/** In order; a released migration is never edited. */
export const MIGRATIONS = [Initial1800000000001, Access1800000000003];
