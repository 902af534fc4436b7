import { startCompose, whyNoCompose, writeSettings } from './compose.ts';
import setUpPostgres from './postgres-setup.ts';

/** Builds the images of this checkout before the specs do: two that began at once would both install and build all of it. */
export default async function setUp(): Promise<void> {
  await setUpPostgres();
  if (whyNoCompose() !== undefined) return;
  const compose = await startCompose(['docker-compose.yml', 'docker-compose.local.yml']);
  try {
    await writeSettings(compose, {});
    await compose.must('build', 'scheduler', 'local-cloud');
  } finally {
    await compose.dispose();
  }
}
