import { describe, expect, it } from '@jest/globals';
import { JobDefinition } from '../../jobs/job-definition.js';
import { healthMessage } from './plan-health.js';

const JOB = JobDefinition.parse({
  ports: [{ container: 9999, host: 8080 }],
  health: { path: '/', port: 8080, timeoutSeconds: 3, startPeriodSeconds: 30 },
});

describe('a health check that does not pass', () => {
  it.each([
    ['connection refused (curl 7)', /^nothing answers on container port 9999 \(port 8080 of the instance\): .*refused/],
    ['connection refused (curl 7)', /127\.0\.0\.1 only .*health\.startPeriodSeconds allows \(30\) \(curl 7\)$/],
    ['failed (curl 52)', /^nothing answers on container port 9999 .*127\.0\.0\.1 only.* \(curl 52\)$/],
    ['failed (curl 56)', /^nothing answers on container port 9999 .*does not speak HTTP.* \(curl 56\)$/],
    ['failed (curl 1)', /^what answers on container port 9999 .*does not speak HTTP/],
    ['timed out (curl 28)', /^container port 9999 .*health\.timeoutSeconds \(3\) \(curl 28\)$/],
    ['HTTP 500', /^container port 9999 \(port 8080 of the instance\) answers GET \/ with HTTP 500$/],
    ['failed (curl 99)', /^failed \(curl 99\)$/],
    ['', /^$/],
  ])('says what to look at: %s', (detail, message) => {
    expect(healthMessage(detail, JOB)).toMatch(message);
  });

  it('says what the agent saw where the job has no health check', () => {
    expect(healthMessage('HTTP 500', { health: undefined, ports: [] })).toBe('HTTP 500');
  });

  it('names the port of the instance where no container port is mapped to it', () => {
    expect(healthMessage('connection refused (curl 7)', { ...JOB, ports: [] })).toContain(
      'nothing answers on port 8080 of the instance',
    );
  });
});
