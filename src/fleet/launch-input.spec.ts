import { describe, expect, it } from '@jest/globals';
import { CLUSTER_TAG, LAUNCH_TAG } from '../aws/ec2-types.js';
import { launchInput, type LaunchInputParts } from './launch-input.js';

const parts: LaunchInputParts = {
  securityGroupIds: ['sg-1'],
  spec: { profile: null, diskGiB: 30, publicIp: true },
  offer: { type: 't3.small', subnetId: 'subnet-a', market: 'on-demand' },
  count: 7,
  ami: { id: 'ami-1', rootDevice: '/dev/xvda', architecture: 'x86_64' },
  userDataBase64: 'IyEvYmluL3No',
  launchId: '5f0c6f6e-2d0a-4d0e-9a55-0d3b1a4a3c11',
  cluster: 'default',
  tagKeys: { cluster: CLUSTER_TAG, launch: LAUNCH_TAG },
};
const TAGS = [
  { Key: 'scheduler-api:cluster', Value: 'default' },
  { Key: 'scheduler-api:launch', Value: '5f0c6f6e-2d0a-4d0e-9a55-0d3b1a4a3c11' },
];
const ON_DEMAND = {
  ImageId: 'ami-1',
  InstanceType: 't3.small',
  MinCount: 1,
  MaxCount: 7,
  UserData: 'IyEvYmluL3No',
  InstanceInitiatedShutdownBehavior: 'terminate',
  MetadataOptions: {
    HttpEndpoint: 'enabled',
    HttpTokens: 'required',
    HttpPutResponseHopLimit: 1,
    InstanceMetadataTags: 'disabled',
  },
  BlockDeviceMappings: [
    { DeviceName: '/dev/xvda', Ebs: { VolumeType: 'gp3', VolumeSize: 30, Encrypted: true, DeleteOnTermination: true } },
  ],
  NetworkInterfaces: [
    {
      DeviceIndex: 0,
      SubnetId: 'subnet-a',
      AssociatePublicIpAddress: true,
      DeleteOnTermination: true,
      Groups: ['sg-1'],
    },
  ],
  TagSpecifications: [
    { ResourceType: 'instance', Tags: TAGS },
    { ResourceType: 'volume', Tags: TAGS },
    { ResourceType: 'network-interface', Tags: TAGS },
  ],
};

describe('launchInput', () => {
  it('is the whole call', () => {
    expect(launchInput(parts)).toEqual(ON_DEMAND);
  });

  it('asks for spot without a price, and tags the request as well', () => {
    expect(launchInput({ ...parts, offer: { ...parts.offer, market: 'spot' } })).toEqual({
      ...ON_DEMAND,
      InstanceMarketOptions: {
        MarketType: 'spot',
        SpotOptions: { SpotInstanceType: 'one-time', InstanceInterruptionBehavior: 'terminate' },
      },
      TagSpecifications: [...ON_DEMAND.TagSpecifications, { ResourceType: 'spot-instances-request', Tags: TAGS }],
    });
  });

  it('lets containers reach the metadata only where the job wants a profile', () => {
    const input = launchInput({ ...parts, spec: { ...parts.spec, profile: 'reader' } });
    expect(input).toEqual({
      ...ON_DEMAND,
      IamInstanceProfile: { Name: 'reader' },
      MetadataOptions: { ...ON_DEMAND.MetadataOptions, HttpPutResponseHopLimit: 2 },
    });
  });

  it('gives the AMI’s own root device its size: under another name it would be a second volume', () => {
    const { BlockDeviceMappings } = launchInput({
      ...parts,
      ami: { id: 'ami-2', rootDevice: '/dev/sda1', architecture: 'x86_64' },
    });
    expect(BlockDeviceMappings).toEqual([{ ...ON_DEMAND.BlockDeviceMappings[0], DeviceName: '/dev/sda1' }]);
  });

  it('leaves the group to the VPC, and the public address away', () => {
    const input = launchInput({ ...parts, securityGroupIds: [], spec: { ...parts.spec, publicIp: false } });
    expect(input.NetworkInterfaces).toEqual([
      { DeviceIndex: 0, SubnetId: 'subnet-a', AssociatePublicIpAddress: false, DeleteOnTermination: true },
    ]);
  });

  it('is the same bytes for the same parts', () => {
    expect(JSON.stringify(launchInput(parts))).toBe(JSON.stringify(launchInput(structuredClone(parts))));
  });
});
