import { Inject } from '@nestjs/common';
import { getConfigToken } from '@nestjs/config';
import type { Config } from './config.js';

/** Injects one group of the settings: `@Setting('logs') private readonly logs: Config['logs']`. */
export const Setting = (name: keyof Config): ReturnType<typeof Inject> => Inject(settingToken(name));

/** The same for a factory's `inject`. */
export const settingToken = (name: keyof Config): string => getConfigToken(name);
