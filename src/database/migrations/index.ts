import { Initial1800000000001 } from './0001-initial.js';

/** In order; a released migration is never edited. */
export const MIGRATIONS = [Initial1800000000001];
