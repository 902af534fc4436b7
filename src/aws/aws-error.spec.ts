import { describe, expect, it } from '@jest/globals';
import { AwsError, type AwsErrorKind, KNOWN_CODES, toAwsError } from './aws-error.js';

/** As the SDK throws it. */
function sdkError(name: string, { fault = 'client', status }: { fault?: string; status?: number } = {}): Error {
  const httpStatusCode = status ?? (fault === 'client' ? 400 : 500);
  return Object.assign(new Error(`message of ${name}`), { name, $fault: fault, $metadata: { httpStatusCode } });
}

describe('toAwsError', () => {
  const table: [code: string, kind: AwsErrorKind, reason: string][] = [
    ['RequestLimitExceeded', 'throttled', 'ec2-throttled'],
    ['Throttling', 'throttled', 'ec2-throttled'],
    ['ConcurrentTagAccess', 'throttled', 'ec2-busy'],
    ['ExpiredToken', 'throttled', 'credentials-expired'],
    ['RequestExpired', 'throttled', 'credentials-expired'],
    ['InsufficientInstanceCapacity', 'capacity', 'insufficient-capacity'],
    ['InsufficientHostCapacity', 'capacity', 'insufficient-capacity'],
    ['InsufficientReservedInstanceCapacity', 'capacity', 'insufficient-capacity'],
    ['UnfulfillableCapacity', 'capacity', 'insufficient-capacity'],
    ['SpotMaxPriceTooLow', 'capacity', 'insufficient-capacity'],
    ['Unsupported', 'capacity', 'type-not-offered'],
    ['VcpuLimitExceeded', 'quota', 'vcpu-limit-exceeded'],
    ['InstanceLimitExceeded', 'quota', 'instance-limit-exceeded'],
    ['MaxSpotInstanceCountExceeded', 'quota', 'spot-limit-exceeded'],
    ['VolumeLimitExceeded', 'quota', 'volume-limit-exceeded'],
    ['SnapshotLimitExceeded', 'quota', 'snapshot-limit-exceeded'],
    ['PendingSnapshotLimitExceeded', 'quota', 'snapshot-limit-exceeded'],
    ['ConcurrentSnapshotLimitExceeded', 'quota', 'snapshot-limit-exceeded'],
    ['SnapshotCreationPerVolumeRateExceeded', 'throttled', 'ec2-busy'],
    ['InvalidVolume.NotFound', 'invalid', 'volume-not-found'],
    ['InsufficientFreeAddressesInSubnet', 'address', 'no-free-addresses'],
    ['InvalidInstanceID.NotFound', 'not-found', 'instance-not-found'],
    ['IdempotentParameterMismatch', 'token-mismatch', 'token-mismatch'],
    ['IdempotentInstanceTerminated', 'token-spent', 'token-spent'],
    ['UnauthorizedOperation', 'permission', 'permission-denied'],
    ['AuthFailure', 'permission', 'credentials-refused'],
    ['AuthFailure.ServiceLinkedRoleCreationNotPermitted', 'account', 'spot-role-missing'],
    ['AuthFailure.SomethingNew', 'permission', 'credentials-refused'],
    ['OptInRequired', 'account', 'account-not-enabled'],
    ['PendingVerification', 'account', 'account-not-verified'],
    ['AccountDisabled', 'account', 'account-blocked'],
    ['InvalidAMIID.NotFound', 'invalid', 'image-not-found'],
    ['InvalidAMIID.Malformed', 'invalid', 'image-not-found'],
    ['InvalidAMIID.Unavailable', 'invalid', 'image-not-found'],
    ['InvalidSubnetID.NotFound', 'invalid', 'subnet-not-found'],
    ['InvalidGroup.NotFound', 'invalid', 'security-group-not-found'],
    ['InvalidUserData.Malformed', 'invalid', 'user-data-invalid'],
    ['InvalidParameterValue', 'invalid', 'request-invalid'],
    ['InvalidParameterCombination', 'invalid', 'request-invalid'],
    ['IncorrectInstanceState', 'invalid', 'incorrect-instance-state'],
    ['InternalError', 'unknown-outcome', 'ec2-unavailable'],
    ['ServiceUnavailable', 'unknown-outcome', 'ec2-unavailable'],
    ['AbortError', 'unknown-outcome', 'ec2-timed-out'],
    ['TimeoutError', 'unknown-outcome', 'ec2-timed-out'],
    ['ThrottlingException', 'throttled', 'ec2-throttled'],
    ['ThrottledException', 'throttled', 'ec2-throttled'],
    ['RequestThrottled', 'throttled', 'ec2-throttled'],
    ['RequestThrottledException', 'throttled', 'ec2-throttled'],
    ['TooManyRequestsException', 'throttled', 'ec2-throttled'],
    ['SlowDown', 'throttled', 'ec2-throttled'],
    ['BandwidthLimitExceeded', 'throttled', 'ec2-throttled'],
    ['EC2ThrottledException', 'throttled', 'ec2-throttled'],
    ['ExpiredTokenException', 'throttled', 'credentials-expired'],
    ['CredentialsProviderError', 'throttled', 'credentials-missing'],
    ['InsufficientCapacity', 'capacity', 'insufficient-capacity'],
    ['InsufficientVolumeCapacity', 'capacity', 'insufficient-capacity'],
    ['ReservationCapacityExceeded', 'capacity', 'insufficient-capacity'],
    ['MaxIOPSLimitExceeded', 'quota', 'volume-limit-exceeded'],
    ['NetworkInterfaceLimitExceeded', 'quota', 'network-interface-limit-exceeded'],
    ['PrivateIpAddressLimitExceeded', 'quota', 'address-limit-exceeded'],
    ['AddressLimitExceeded', 'quota', 'address-limit-exceeded'],
    ['ResourceLimitExceeded', 'quota', 'limit-exceeded'],
    ['InsufficientAddressCapacity', 'address', 'no-free-addresses'],
    ['AccessDenied', 'permission', 'permission-denied'],
    ['AccessDeniedException', 'permission', 'permission-denied'],
    ['InvalidClientTokenId', 'permission', 'credentials-refused'],
    ['UnrecognizedClientException', 'permission', 'credentials-refused'],
    ['SignatureDoesNotMatch', 'permission', 'credentials-refused'],
    ['IncompleteSignature', 'permission', 'credentials-refused'],
    ['MissingAuthenticationToken', 'permission', 'credentials-refused'],
    ['Blocked', 'account', 'account-blocked'],
    ['InvalidSubnetId.NotFound', 'invalid', 'subnet-not-found'],
    ['InvalidSubnetID.Malformed', 'invalid', 'subnet-not-found'],
    ['InvalidGroupId.Malformed', 'invalid', 'security-group-not-found'],
    ['InvalidSecurityGroupID.NotFound', 'invalid', 'security-group-not-found'],
    ['InvalidSecurityGroupId.Malformed', 'invalid', 'security-group-not-found'],
    ['InvalidInstanceType', 'invalid', 'type-not-found'],
    ['InvalidBlockDeviceMapping', 'invalid', 'disk-invalid'],
    ['InvalidSnapshot.NotFound', 'invalid', 'image-not-found'],
    ['InvalidParameter', 'invalid', 'request-invalid'],
    ['InvalidRequest', 'invalid', 'request-invalid'],
    ['InvalidInput', 'invalid', 'request-invalid'],
    ['MissingParameter', 'invalid', 'request-invalid'],
    ['UnknownParameter', 'invalid', 'request-invalid'],
    ['UnsupportedOperation', 'invalid', 'request-invalid'],
    ['UnsupportedTenancy', 'invalid', 'request-invalid'],
    ['InvalidInstanceID.Malformed', 'invalid', 'request-invalid'],
    ['OperationNotPermitted', 'invalid', 'operation-not-permitted'],
    ['VPCIdNotSpecified', 'invalid', 'no-subnet'],
    ['DefaultVpcDoesNotExist', 'invalid', 'no-subnet'],
    ['NoAvailableSubnet', 'invalid', 'no-subnet'],
    ['InternalFailure', 'unknown-outcome', 'ec2-unavailable'],
    ['Unavailable', 'unknown-outcome', 'ec2-unavailable'],
    ['RequestTimeout', 'unknown-outcome', 'ec2-unavailable'],
  ];
  it.each(table)('%s is %s', (code, kind, reason) => {
    expect(toAwsError('RunInstances', sdkError(code))).toMatchObject({ action: 'RunInstances', code, kind, reason });
  });

  it('has a row above for every code we know', () => {
    const rows = new Set(table.map(([code]) => code));
    expect(KNOWN_CODES.filter((code) => !rows.has(code))).toEqual([]);
  });

  it('goes by the code, also where the status says otherwise: no capacity is an HTTP 500', () => {
    const error = sdkError('InsufficientInstanceCapacity', { fault: 'server' });
    expect(toAwsError('RunInstances', error).kind).toBe('capacity');
  });

  it('never goes by the message', () => {
    const error = Object.assign(sdkError('SomethingNew'), {
      message: 'RequestLimitExceeded InsufficientInstanceCapacity',
    });
    expect(toAwsError('RunInstances', error)).toMatchObject({ kind: 'invalid', reason: 'request-refused' });
  });

  it.each([
    ['a 503 without a known code', sdkError('SomethingNew', { fault: 'server', status: 503 }), 'ec2-unavailable'],
    ['an answer that is no XML', sdkError('SyntaxError', { fault: 'server', status: 502 }), 'ec2-unavailable'],
    ['a reset connection', Object.assign(new Error('socket hang up'), { code: 'ECONNRESET' }), 'ec2-unreachable'],
    ['a name that does not resolve', Object.assign(new Error('?'), { code: 'ENOTFOUND' }), 'ec2-unreachable'],
    ['something that is no error', 'boom', 'ec2-unreachable'],
  ])('takes %s for an unknown outcome', (_, error, reason) => {
    expect(toAwsError('RunInstances', error)).toMatchObject({ kind: 'unknown-outcome', reason });
  });

  it('says what users may read: no ARN, nothing encoded, one line, bounded', () => {
    const said = (message: string) =>
      toAwsError('RunInstances', Object.assign(sdkError('AuthFailure'), { message })).message;
    const denial =
      'You are not authorized to perform this operation. User: arn:aws:sts::123456789012:assumed-role/api/i-0 is not authorized to perform: ec2:RunInstances on resource: arn:aws:ec2:us-west-2:123456789012:instance/* because no identity-based policy allows it. Encoded authorization failure message: AbC_d-\nef';
    expect(said(denial)).toBe(
      'You are not authorized to perform this operation. User: arn:… is not authorized to perform: ec2:RunInstances on resource: arn:… because no identity-based policy allows it.',
    );
    expect(said('one\n\u001b]52;c;x\u0007 two')).toBe('one ]52;c;x two');
    expect(said('x'.repeat(10_000))).toHaveLength(400);
  });

  it.each([
    [
      'AuthFailure.ServiceLinkedRoleCreationNotPermitted',
      /^message of .* aws iam create-service-linked-role --aws-service-name spot\.amazonaws\.com$/,
    ],
    ['OptInRequired', /An operator .* enables the region in it/],
    ['PendingVerification', /within some hours/],
    ['Blocked', /AWS Support/],
  ])('says of %s what an operator does about it, however long AWS’s own words are', (code, advice) => {
    expect(toAwsError('RunInstances', sdkError(code)).message).toMatch(advice);
    const long = toAwsError('RunInstances', Object.assign(sdkError(code), { message: 'x'.repeat(10_000) })).message;
    expect(long.length).toBeLessThan(700);
    expect(`message of ${long}`).toMatch(advice);
  });

  it('leaves its own errors as they are', () => {
    const error = toAwsError('RunInstances', sdkError('AuthFailure'));
    expect(error).toBeInstanceOf(AwsError);
    expect(toAwsError('TerminateInstances', error)).toBe(error);
  });
});
