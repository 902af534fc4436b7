import { z } from 'zod';
import { ECR_HOST } from './ecr-host.js';
import { list, url } from './setting-values.js';

export const awsSettings = {
  AWS_REGION: z
    .string()
    .regex(/^[a-z]{2,}(-[a-z]+)+-\d+$/, 'must be a region like us-west-2')
    .prefault('us-west-2')
    .meta({ description: 'Region of the instances.', example: 'us-west-2' }),
  AWS_ACCOUNT_ID: z
    .string()
    .regex(/^\d{12}$/, 'must be 12 digits')
    .optional()
    .meta({
      description:
        'Account the instances must belong to. Default: that of the credentials, as EC2’s answers to launches show it.',
      example: '123456789012',
    }),
  AWS_ENDPOINT_URL: url('http:', 'https:').optional().meta({
    description: 'Other endpoint for EC2 and S3, read by the AWS SDK itself, as are AWS_ACCESS_KEY_ID and its kin.',
    example: 'http://127.0.0.1:4566',
  }),
  EC2_QUOTA_SHARE: z
    .string()
    .refine((text) => Number(text) > 0 && Number(text) <= 1, 'must be a number above 0 and at most 1')
    .transform(Number)
    .prefault('0.8')
    .meta({ description: 'Share of EC2’s published call quotas this fleet may use.', example: '0.8' }),
  DEFAULT_AMI: z
    .string()
    .regex(
      /^(ami-[0-9a-f]{8,17}|ecs-al2023(-arm64)?)$/,
      'must be an AMI id or the alias ecs-al2023 or ecs-al2023-arm64',
    )
    .prefault('ecs-al2023')
    .meta({
      description:
        'AMI of jobs that name none: an id, or the alias of Amazon’s newest ECS-optimised AL2023, of the architecture of each type.',
      example: 'ecs-al2023',
    }),
  ALLOWED_AMIS: list(
    /^(ami-[0-9a-f]{8,17}|ecs-al2023(-arm64)?)$/,
    'AMI ids and the aliases ecs-al2023 and ecs-al2023-arm64',
  )
    .prefault('ecs-al2023,ecs-al2023-arm64')
    .meta({
      description:
        'AMIs jobs may name in addition to DEFAULT_AMI. The maker of an AMI is root on its instances, and gets the secrets and registry passwords sent there.',
      example: 'ecs-al2023,ecs-al2023-arm64,ami-0123456789abcdef0',
    }),
  ALLOWED_SUBNETS: list(/^subnet-[0-9a-f]{8,17}$/, 'subnet ids')
    .prefault('')
    .meta({
      description: 'Subnets jobs may name; jobs that name none run in any of them. Default: those of the default VPC.',
      example: 'subnet-0123456789abcdef0',
    }),
  ALLOWED_SECURITY_GROUPS: list(/^sg-[0-9a-f]{8,17}$/, 'security group ids')
    .prefault('')
    .meta({
      description: 'Security groups jobs may name, and those of jobs that name none. Default: the VPC’s default group.',
      example: 'sg-0123456789abcdef0',
    }),
  ALLOWED_PROFILES: list(/^[\w+=,.@-]{1,128}$/, 'instance profile names')
    .prefault('')
    .meta({ description: 'Instance profiles jobs may name.', example: 'job-reader' }),
  ECR_REGISTRIES: list(
    { test: (host) => host === 'own' || host === 'none' || ECR_HOST.test(host) },
    '`own`, `none` or hosts like 123456789012.dkr.ecr.us-west-2.amazonaws.com',
  )
    .prefault('own')
    .meta({
      description:
        'Registries of ECR that jobs’ images are pulled from with tokens of the API’s own role: hosts, or `own`, that of its account in AWS_REGION. `none`: no tokens.',
      example: 'own,123456789012.dkr.ecr.eu-central-1.amazonaws.com',
    }),
};
