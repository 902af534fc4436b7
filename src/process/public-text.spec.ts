import { describe, expect, it } from '@jest/globals';
import { publicText, withoutAccount } from './public-text.js';

describe('what others than the operator may read of AWS’s words', () => {
  it.each([
    [
      'UnauthorizedOperation of EC2',
      'You are not authorized to perform this operation. User: arn:aws:sts::123456789012:assumed-role/api/i-0 is not authorized to perform: ec2:RunInstances on resource: arn:aws:ec2:us-west-2:123456789012:instance/* because no identity-based policy allows it. Encoded authorization failure message: AbC_d-\nef',
      'You are not authorized to perform this operation. User: arn:… is not authorized to perform: ec2:RunInstances on resource: arn:… because no identity-based policy allows it.',
    ],
    [
      'AccessDenied of S3',
      'User: arn:aws-cn:sts::123456789012:assumed-role/api/i-0 is not authorized to perform: s3:PutObject on resource: "arn:aws-cn:s3:::logs/jobs/x" because no identity-based policy allows the s3:PutObject action',
      'User: arn:… is not authorized to perform: s3:PutObject on resource: "arn:…" because no identity-based policy allows the s3:PutObject action',
    ],
    [
      'ids of callers and accounts',
      'AROAIOSFODNN7EXAMPLE:i-0abc of account 123456789012 may not use ami-0123456789abcdef0 (AKIAIOSFODNN7EXAMPLE)',
      '… of account … may not use ami-0123456789abcdef0 (…)',
    ],
    [
      'a registry that the deployer has named',
      'manifest for 123456789012.dkr.ecr.us-west-2.amazonaws.com/app:1 not found',
      'manifest for 123456789012.dkr.ecr.us-west-2.amazonaws.com/app:1 not found',
    ],
    ['what breaks lines and terminals', 'one\n\u001b]52;c;x\u0007 two', 'one ]52;c;x two'],
  ])('is of %s', (_, said, read) => {
    expect(publicText(said)).toBe(read);
  });

  it('is bounded, and takes no longer for text that is made to', () => {
    expect(publicText('x'.repeat(1_000_000))).toHaveLength(400);
    expect(publicText('x'.repeat(1_000_000), 20)).toBe(`${'x'.repeat(19)}…`);
    const startedAt = performance.now();
    for (const text of [' ', 'arn:', '1', 'AROA', '\n']) publicText(text.repeat(1_000_000));
    expect(performance.now() - startedAt).toBeLessThan(500);
  });

  it('keeps the lines of what is not cut', () => {
    expect(withoutAccount('a\narn:aws:iam::1:role/x\nb')).toBe('a\narn:…\nb');
  });
});
