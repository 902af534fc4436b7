import { publicText } from '../process/public-text.js';

/**
 * What an EC2 error means for us: `throttled`, nothing happened, repeat later; `capacity`, `quota`, `address`: EC2 has
 * nothing for this offer now; `not-found`: EC2 does not show this instance id yet, or no longer; `token-mismatch`,
 * `token-spent`: about the ClientToken; `account`: an operator repairs the account once, and EC2 then accepts the same
 * call; `permission`, `invalid`: refused for good; `unknown-outcome`: it may have taken effect or not.
 */
export type AwsErrorKind =
  | 'throttled'
  | 'capacity'
  | 'quota'
  | 'address'
  | 'not-found'
  | 'token-mismatch'
  | 'token-spent'
  | 'account'
  | 'permission'
  | 'invalid'
  | 'unknown-outcome';

/**
 * A failed call. `code` is AWS's, `reason` is ours: kebab-case, for users. The message is AWS's own, shortened to what
 * users may read, plus what an operator can do about it.
 */
export class AwsError extends Error {
  override readonly name = 'AwsError';

  readonly action: string;
  readonly code: string;
  readonly kind: AwsErrorKind;
  readonly reason: string;

  constructor({ action, code, kind, reason, message, advice, cause }: AwsErrorFacts) {
    super([publicText(message), advice].filter(Boolean).join(' '), { cause });
    this.action = action;
    this.code = code;
    this.kind = kind;
    this.reason = reason;
  }
}

export type AwsErrorFacts = {
  readonly action: string;
  readonly code: string;
  readonly kind: AwsErrorKind;
  readonly reason: string;
  readonly message: string;
  /** Our own text on what to do about it, appended to AWS's message. */
  readonly advice?: string | undefined;
  readonly cause?: unknown;
};

/** By code, never by message: messages change, and carry user input. */
export function toAwsError(action: string, error: unknown): AwsError {
  if (error instanceof AwsError) return error;
  const code = codeOf(error);
  const [kind, reason] = CODES[code] ?? classifyByPrefix(code) ?? classifyByFault(error);
  return new AwsError({ action, code, kind, reason, message: messageOf(error), advice: ADVICE[reason], cause: error });
}

/** Every code we know, from EC2's API reference, «Error codes»; see docs/ec2.md. */
const CODES: Readonly<Record<string, readonly [AwsErrorKind, string]>> = {
  RequestLimitExceeded: ['throttled', 'ec2-throttled'],
  Throttling: ['throttled', 'ec2-throttled'],
  ThrottlingException: ['throttled', 'ec2-throttled'],
  ThrottledException: ['throttled', 'ec2-throttled'],
  RequestThrottled: ['throttled', 'ec2-throttled'],
  RequestThrottledException: ['throttled', 'ec2-throttled'],
  TooManyRequestsException: ['throttled', 'ec2-throttled'],
  SlowDown: ['throttled', 'ec2-throttled'],
  BandwidthLimitExceeded: ['throttled', 'ec2-throttled'],
  EC2ThrottledException: ['throttled', 'ec2-throttled'],
  SnapshotCreationPerVolumeRateExceeded: ['throttled', 'ec2-busy'],
  ConcurrentTagAccess: ['throttled', 'ec2-busy'],
  // EC2 refused before it read the request, which succeeds unchanged with new credentials: like a throttle.
  ExpiredToken: ['throttled', 'credentials-expired'],
  ExpiredTokenException: ['throttled', 'credentials-expired'],
  RequestExpired: ['throttled', 'credentials-expired'],
  CredentialsProviderError: ['throttled', 'credentials-missing'],

  InsufficientInstanceCapacity: ['capacity', 'insufficient-capacity'],
  InsufficientCapacity: ['capacity', 'insufficient-capacity'],
  InsufficientHostCapacity: ['capacity', 'insufficient-capacity'],
  InsufficientReservedInstanceCapacity: ['capacity', 'insufficient-capacity'],
  InsufficientVolumeCapacity: ['capacity', 'insufficient-capacity'],
  ReservationCapacityExceeded: ['capacity', 'insufficient-capacity'],
  UnfulfillableCapacity: ['capacity', 'insufficient-capacity'],
  SpotMaxPriceTooLow: ['capacity', 'insufficient-capacity'],
  // The type does not exist in this zone: another zone or type may have capacity (karpenter treats it so, too).
  Unsupported: ['capacity', 'type-not-offered'],

  VcpuLimitExceeded: ['quota', 'vcpu-limit-exceeded'],
  InstanceLimitExceeded: ['quota', 'instance-limit-exceeded'],
  MaxSpotInstanceCountExceeded: ['quota', 'spot-limit-exceeded'],
  VolumeLimitExceeded: ['quota', 'volume-limit-exceeded'],
  MaxIOPSLimitExceeded: ['quota', 'volume-limit-exceeded'],
  SnapshotLimitExceeded: ['quota', 'snapshot-limit-exceeded'],
  PendingSnapshotLimitExceeded: ['quota', 'snapshot-limit-exceeded'],
  ConcurrentSnapshotLimitExceeded: ['quota', 'snapshot-limit-exceeded'],
  NetworkInterfaceLimitExceeded: ['quota', 'network-interface-limit-exceeded'],
  PrivateIpAddressLimitExceeded: ['quota', 'address-limit-exceeded'],
  AddressLimitExceeded: ['quota', 'address-limit-exceeded'],
  ResourceLimitExceeded: ['quota', 'limit-exceeded'],

  InsufficientFreeAddressesInSubnet: ['address', 'no-free-addresses'],
  InsufficientAddressCapacity: ['address', 'no-free-addresses'],

  'InvalidInstanceID.NotFound': ['not-found', 'instance-not-found'],

  IdempotentParameterMismatch: ['token-mismatch', 'token-mismatch'],
  IdempotentInstanceTerminated: ['token-spent', 'token-spent'],

  'AuthFailure.ServiceLinkedRoleCreationNotPermitted': ['account', 'spot-role-missing'],
  OptInRequired: ['account', 'account-not-enabled'],
  PendingVerification: ['account', 'account-not-verified'],
  Blocked: ['account', 'account-blocked'],
  AccountDisabled: ['account', 'account-blocked'],

  UnauthorizedOperation: ['permission', 'permission-denied'],
  AccessDenied: ['permission', 'permission-denied'],
  AccessDeniedException: ['permission', 'permission-denied'],
  AuthFailure: ['permission', 'credentials-refused'],
  InvalidClientTokenId: ['permission', 'credentials-refused'],
  UnrecognizedClientException: ['permission', 'credentials-refused'],
  SignatureDoesNotMatch: ['permission', 'credentials-refused'],
  IncompleteSignature: ['permission', 'credentials-refused'],
  MissingAuthenticationToken: ['permission', 'credentials-refused'],

  'InvalidSubnetID.NotFound': ['invalid', 'subnet-not-found'],
  'InvalidSubnetId.NotFound': ['invalid', 'subnet-not-found'],
  'InvalidSubnetID.Malformed': ['invalid', 'subnet-not-found'],
  'InvalidGroup.NotFound': ['invalid', 'security-group-not-found'],
  'InvalidGroupId.Malformed': ['invalid', 'security-group-not-found'],
  'InvalidSecurityGroupID.NotFound': ['invalid', 'security-group-not-found'],
  'InvalidSecurityGroupId.Malformed': ['invalid', 'security-group-not-found'],
  InvalidInstanceType: ['invalid', 'type-not-found'],
  'InvalidUserData.Malformed': ['invalid', 'user-data-invalid'],
  InvalidBlockDeviceMapping: ['invalid', 'disk-invalid'],
  'InvalidSnapshot.NotFound': ['invalid', 'image-not-found'],
  'InvalidVolume.NotFound': ['invalid', 'volume-not-found'],
  InvalidParameterValue: ['invalid', 'request-invalid'],
  InvalidParameterCombination: ['invalid', 'request-invalid'],
  InvalidParameter: ['invalid', 'request-invalid'],
  InvalidRequest: ['invalid', 'request-invalid'],
  InvalidInput: ['invalid', 'request-invalid'],
  MissingParameter: ['invalid', 'request-invalid'],
  UnknownParameter: ['invalid', 'request-invalid'],
  UnsupportedOperation: ['invalid', 'request-invalid'],
  UnsupportedTenancy: ['invalid', 'request-invalid'],
  'InvalidInstanceID.Malformed': ['invalid', 'request-invalid'],
  IncorrectInstanceState: ['invalid', 'incorrect-instance-state'],
  OperationNotPermitted: ['invalid', 'operation-not-permitted'],
  VPCIdNotSpecified: ['invalid', 'no-subnet'],
  DefaultVpcDoesNotExist: ['invalid', 'no-subnet'],
  NoAvailableSubnet: ['invalid', 'no-subnet'],

  InternalError: ['unknown-outcome', 'ec2-unavailable'],
  InternalFailure: ['unknown-outcome', 'ec2-unavailable'],
  ServiceUnavailable: ['unknown-outcome', 'ec2-unavailable'],
  Unavailable: ['unknown-outcome', 'ec2-unavailable'],
  RequestTimeout: ['unknown-outcome', 'ec2-unavailable'],
  AbortError: ['unknown-outcome', 'ec2-timed-out'],
  TimeoutError: ['unknown-outcome', 'ec2-timed-out'],
};

/** By reason: what AWS does not say, for the operator who can do it. */
const ADVICE: Readonly<Record<string, string>> = {
  'spot-role-missing':
    'The first spot instance of an account needs the role AWSServiceRoleForEC2Spot. An operator makes it once: aws iam create-service-linked-role --aws-service-name spot.amazonaws.com',
  'account-not-enabled':
    'An operator completes the sign-up of the account, enables the region in it, or accepts the terms of an AMI of AWS Marketplace.',
  'account-not-verified':
    'AWS verifies a new account or region within some hours; if it does not, an operator asks AWS Support.',
  'account-blocked': 'An operator asks AWS Support.',
};

export const KNOWN_CODES: readonly string[] = Object.keys(CODES);

const PREFIXES: readonly (readonly [string, AwsErrorKind, string])[] = [
  ['InvalidAMIID.', 'invalid', 'image-not-found'],
  ['InvalidAMI', 'invalid', 'image-not-found'],
  ['AuthFailure.', 'permission', 'credentials-refused'],
  ['InvalidKeyPair.', 'invalid', 'request-invalid'],
];

function classifyByPrefix(code: string): readonly [AwsErrorKind, string] | undefined {
  const found = PREFIXES.find(([prefix]) => code.startsWith(prefix));
  return found && [found[1], found[2]];
}

/**
 * Codes that are not in the table. EC2 refused a client fault before anything happened. All else (5xx, connection lost
 * after the request was sent, no answer in time) may have taken effect: calling it a failure could pay for a second set
 * of instances.
 */
function classifyByFault(error: unknown): readonly [AwsErrorKind, string] {
  const { $fault, $metadata } = (error ?? {}) as { $fault?: string; $metadata?: { httpStatusCode?: number } };
  const status = $metadata?.httpStatusCode;
  if (status !== undefined && status >= 500) return ['unknown-outcome', 'ec2-unavailable'];
  if ($fault === 'client' || (status !== undefined && status >= 400)) return ['invalid', 'request-refused'];
  return ['unknown-outcome', status === undefined ? 'ec2-unreachable' : 'ec2-unavailable'];
}

function codeOf(error: unknown): string {
  if (!(error instanceof Error)) return 'Unknown';
  // Node's network errors are all named Error; their code says more (ECONNRESET …).
  if (error.name === 'Error' && 'code' in error && typeof error.code === 'string') return error.code;
  return error.name;
}

function messageOf(error: unknown): string {
  if (error instanceof AggregateError && error.errors.length > 0) return messageOf(error.errors[0]);
  return error instanceof Error ? error.message || error.name : String(error);
}
