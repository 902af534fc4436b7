import { Operation } from '../process/observation.js';

export type Ec2Call = {
  readonly action: string;
  /** Of RunInstances. */
  readonly launchId?: string;
  /** Of calls that change instances. */
  readonly instanceIds?: readonly string[];
};

/** Calls to EC2; one that fails ends with an AwsError. Apart from Ec2, so that a listener need not load the SDK. */
export const ec2Calls = new Operation<Ec2Call>('ec2-call');
