// Says at once which test failed: with --bail Jest ends without its --json.
import { appendFileSync } from 'node:fs';
import { join } from 'node:path';

const failures = join(import.meta.dirname, '../../.mutants/failures');

export default class FirstFailure {
  onTestCaseResult(_test, { status, fullName }) {
    if (status === 'failed') appendFileSync(failures, `${fullName}\n`);
  }

  onTestFileResult({ path }, { testExecError }) {
    if (testExecError) appendFileSync(failures, `${path} does not run\n`);
  }
}
