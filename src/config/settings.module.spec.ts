import { expect, it } from '@jest/globals';
import { Injectable } from '@nestjs/common';
import { Test } from '@nestjs/testing';
import { type Config, loadConfig } from './config.js';
import { Setting } from './setting.decorator.js';
import { SettingsModule } from './settings.module.js';

@Injectable()
class Reader {
  constructor(
    @Setting('encryptionKeys') readonly keys: Config['encryptionKeys'],
    @Setting('fleet') readonly fleet: Config['fleet'],
    @Setting('snapshots') readonly snapshots: Config['snapshots'],
  ) {}
}

it('settings are injected as they were read, those without a value too, and none becomes a variable of the process', async () => {
  const config = loadConfig({
    DATABASE_URL: 'postgres://user:hush@db/app',
    ENCRYPTION_KEY: Buffer.alloc(32, 1).toString('base64'),
    MAX_INSTANCES: '3',
  });
  const before = { ...process.env };
  const open = (settings: Config) =>
    Test.createTestingModule({ imports: [SettingsModule.forRoot(settings)], providers: [Reader] }).compile();
  const [one, other] = await Promise.all([
    open(config),
    open({ ...config, fleet: { ...config.fleet, maxInstances: 5 } }),
  ]);
  const { keys, fleet, snapshots } = one.get(Reader);
  expect(keys).toBe(config.encryptionKeys);
  expect(fleet).toBe(config.fleet);
  expect(snapshots).toBeUndefined();
  expect(other.get(Reader).fleet.maxInstances).toBe(5);
  expect(process.env).toEqual(before);
});
