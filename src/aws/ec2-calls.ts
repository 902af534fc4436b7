import { Operation } from '../process/observation.js';

/** Calls to EC2; one that fails ends with an AwsError. Apart from Ec2, so that whoever listens need not load the SDK. */
export const ec2Calls = new Operation<{ readonly action: string }>('ec2-call');
