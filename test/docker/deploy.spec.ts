import { spawnSync } from 'node:child_process';
import { afterAll, beforeAll, expect, it } from '@jest/globals';
import { type Compose, docker, startCompose, whyNoCompose } from '../support/compose.ts';
import { describeWhen } from '../support/when.ts';

// What terraform and aws are told, and in which order: test/integration/terraform.spec.ts.
const TERRAFORM = 'hashicorp/terraform:1.11';
const MINUTES = 60_000;

const reason = whyNoCompose() ?? whyNoTerraform();

describeWhen(reason === undefined, reason ?? '', 'docker-compose up scheduler-deploy', () => {
  let compose: Compose;
  beforeAll(async () => {
    compose = await startCompose();
    await compose.must('build', 'scheduler-deploy');
  }, 15 * MINUTES);
  afterAll(() => compose.dispose(), 2 * MINUTES);

  it(
    'has Terraform and the AWS CLI, and ends with what is missing: the bucket, the clients, credentials',
    async () => {
      const run = async (...args: string[]) => await compose.run('run', '--rm', ...args);
      const versions = 'terraform version && aws --version && git --version';
      const tools = await run('--entrypoint', '/bin/sh', 'scheduler-deploy', '-c', versions);
      expect(tools).toMatchObject({ code: 0, output: expect.stringMatching(/^Terraform v1\.\d+[^]*aws-cli/m) });

      await compose.must('up', 'scheduler-deploy');
      const container = await compose.container('scheduler-deploy');
      expect(await docker('inspect', '--format', '{{.State.ExitCode}}', container)).toBe('1');
      expect(await compose.must('logs', 'scheduler-deploy')).toContain('TF_STATE_BUCKET is not set');

      const bucket = ['-e', 'TF_STATE_BUCKET=some-bucket'];
      const open = await run(...bucket, 'scheduler-deploy');
      expect(open).toMatchObject({ code: 1, output: expect.stringContaining('allowed_cidrs is not set') });

      // No metadata service either: this may run on an instance that has a role.
      const allowed = ['-e', 'TF_VAR_allowed_cidrs=["203.0.113.7/32"]', '-e', 'AWS_EC2_METADATA_DISABLED=true'];
      const unknown = await run(...bucket, ...allowed, 'scheduler-deploy');
      expect(unknown).toMatchObject({
        code: 1,
        output: expect.stringMatching(/AWS does not know us: .*credentials[^]*Set AWS_ACCESS_KEY_ID/),
      });
    },
    3 * MINUTES,
  );
});

function whyNoTerraform(): string | undefined {
  const run = (...args: string[]): boolean =>
    spawnSync('docker', args, { stdio: 'ignore', timeout: 120_000 }).status === 0;
  if (run('image', 'inspect', TERRAFORM) || run('pull', '-q', TERRAFORM)) return undefined;
  return `the engine neither has nor can pull ${TERRAFORM}`;
}
