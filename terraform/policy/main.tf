# What the API's role may do, as JSON. No resources here: it can be evaluated without provider or account, and is, by
# test/integration/policy.spec.ts, which checks it by AWS's service authorization reference and by the calls that src/aws and
# user-data.sh make.

variable "partition" { type = string }
variable "account_id" { type = string }
variable "region" { type = string }
variable "name" { type = string }
variable "job_subnet_ids" { type = list(string) }
variable "job_security_group_ids" { type = list(string) }
variable "job_role_arns" { type = list(string) }
variable "job_ami_owners" { type = list(string) }
variable "bucket" { type = string }
variable "secrets_key" { type = string }
variable "agent_keys_prefix" { type = string }
variable "log_prefix" { type = string }
variable "bucket_region" { type = string }
variable "kms_key_arn" {
  type    = string
  default = null
}
variable "ebs_kms_key_arn" {
  type    = string
  default = null
}
variable "ecr_repository_arns" { type = list(string) }
variable "data_volume_arn" {
  description = "Volume this stack's instances hand to each other, and take snapshots of; null = none."
  type        = string
  default     = null
}
variable "address_arn" {
  description = "Elastic IP that follows the instance that serves; null = none."
  type        = string
  default     = null
}
variable "private_record" {
  description = "The names this stack's instances point at themselves: their own, and that of jobs; null = none."
  type        = object({ zone_id = string, name = string, jobs_name = optional(string) })
  default     = null
}

locals {
  # As in src/aws/ec2-types.ts.
  cluster_tag = "scheduler-api:cluster"
  # On what Terraform made: the API's own instances, never the jobs'.
  stack_tag = "scheduler-api:stack"
  # On the snapshots that the scheduler made.
  snapshot_tag = "scheduler-api:snapshot"

  ec2 = "arn:${var.partition}:ec2:${var.region}"
  own = "${local.ec2}:${var.account_id}"
  s3  = "arn:${var.partition}:s3:::${var.bucket}"
  # Of the names of services, which China has of its own.
  dns_suffix = var.partition == "aws-cn" ? "amazonaws.com.cn" : "amazonaws.com"

  launched = [for type in ["instance", "volume", "network-interface", "spot-instances-request"] : "${local.own}:${type}/*"]

  fleet = [
    {
      Sid      = "See"
      Effect   = "Allow"
      Action   = ["ec2:DescribeInstances", "ec2:DescribeInstanceStatus", "ec2:DescribeImages", "ec2:DescribeSubnets"]
      Resource = "*"
    },
    {
      # The maker of an image is root on its instances. Images have no account in their ARN: their owner is a condition.
      Sid       = "LaunchImages"
      Effect    = "Allow"
      Action    = "ec2:RunInstances"
      Resource  = "${local.ec2}::image/*"
      Condition = { StringEquals = { "ec2:Owner" = var.job_ami_owners } }
    },
    {
      # What else a launch uses but does not make.
      Sid    = "LaunchWith"
      Effect = "Allow"
      Action = "ec2:RunInstances"
      Resource = concat(
        ["${local.ec2}::snapshot/*"],
        [for id in var.job_subnet_ids : "${local.own}:subnet/${id}"],
        [for id in var.job_security_group_ids : "${local.own}:security-group/${id}"],
      )
    },
    {
      Sid       = "LaunchTagged"
      Effect    = "Allow"
      Action    = "ec2:RunInstances"
      Resource  = local.launched
      Condition = { StringEquals = { "aws:RequestTag/${local.cluster_tag}" = var.name } }
    },
    {
      # A container that can make its instance's HTTP client call IMDSv1 could read what belongs to the instance.
      Sid       = "LaunchWithImdsV2Only"
      Effect    = "Deny"
      Action    = "ec2:RunInstances"
      Resource  = "${local.own}:instance/*"
      Condition = { StringNotEquals = { "ec2:MetadataHttpTokens" = "required" } }
    },
    {
      Sid      = "TagAtLaunch"
      Effect   = "Allow"
      Action   = "ec2:CreateTags"
      Resource = local.launched
      Condition = {
        StringEquals = {
          "ec2:CreateAction"                    = "RunInstances"
          "aws:RequestTag/${local.cluster_tag}" = var.name
        }
        # With the stack's tag it would count as the API's own: the data volume and the public address could go there.
        "ForAllValues:StringEquals" = { "aws:TagKeys" = [local.cluster_tag, "scheduler-api:launch"] }
      }
    },
    {
      # Never the cluster tag: with it the role could make any instance ours, and then end it.
      Sid      = "NameOwnInstances"
      Effect   = "Allow"
      Action   = "ec2:CreateTags"
      Resource = "${local.own}:instance/*"
      Condition = {
        StringEquals                = { "aws:ResourceTag/${local.cluster_tag}" = var.name }
        "ForAllValues:StringEquals" = { "aws:TagKeys" = ["Name", "scheduler-api:job", "scheduler-api:deployment"] }
        Null                        = { "aws:TagKeys" = "false" }
      }
    },
    {
      Sid       = "EndOwnInstances"
      Effect    = "Allow"
      Action    = "ec2:TerminateInstances"
      Resource  = "${local.own}:instance/*"
      Condition = { StringEquals = { "aws:ResourceTag/${local.cluster_tag}" = var.name } }
    },
  ]

  # An instance can be launched with a disk of any snapshot, and read it. Those of the account are none of an image that may
  # be launched; where the account's own images may, it is Postgres's that are not to be read.
  unread = [for condition in contains(var.job_ami_owners, var.account_id) ? [
    for arn in compact([var.data_volume_arn]) : { "ec2:ParentVolume" = arn }
    ] : [{ "ec2:Owner" = var.account_id }] : {
    Sid       = "ReadNoDisks"
    Effect    = "Deny"
    Action    = "ec2:RunInstances"
    Resource  = "${local.ec2}::snapshot/*"
    Condition = { StringEquals = condition }
  }]

  # The first spot launch of an account makes the role that EC2 needs for all of them.
  spot = [{
    Sid       = "FirstSpotLaunch"
    Effect    = "Allow"
    Action    = "iam:CreateServiceLinkedRole"
    Resource  = "arn:${var.partition}:iam::${var.account_id}:role/aws-service-role/spot.amazonaws.com/AWSServiceRoleForEC2Spot"
    Condition = { StringEquals = { "iam:AWSServiceName" = "spot.amazonaws.com" } }
  }]

  profiles = [for arns in [var.job_role_arns] : {
    Sid       = "GiveJobsTheirRole"
    Effect    = "Allow"
    Action    = "iam:PassRole"
    Resource  = arns
    Condition = { StringEquals = { "iam:PassedToService" = "ec2.${local.dns_suffix}" } }
  } if length(arns) > 0]

  storage = [
    {
      Sid      = "ReadSecretsAndBundles"
      Effect   = "Allow"
      Action   = "s3:GetObject"
      Resource = ["${local.s3}/${var.secrets_key}", "${local.s3}/${var.agent_keys_prefix}*", "${local.s3}/bundles/*"]
    },
    {
      Sid      = "ReadAndWriteLogs"
      Effect   = "Allow"
      Action   = ["s3:GetObject", "s3:PutObject"]
      Resource = "${local.s3}/${var.log_prefix}*"
    },
    {
      # What jobs print is kept for LOGS_RETENTION_DAYS. The API's own logs under boot/ it cannot delete.
      Sid      = "DropOldLogsOfJobs"
      Effect   = "Allow"
      Action   = "s3:DeleteObject"
      Resource = "${local.s3}/${var.log_prefix}jobs/*"
    },
    {
      Sid       = "ListLogsOfJobs"
      Effect    = "Allow"
      Action    = "s3:ListBucket"
      Resource  = local.s3
      Condition = { StringLike = { "s3:prefix" = "${var.log_prefix}jobs/*" } }
    },
  ]

  # Of a Postgres of our own. Neither read nor deleted: an attacker who takes the API over gets no backup.
  backups = [for volume in compact([var.data_volume_arn]) : {
    Sid      = "KeepBackups"
    Effect   = "Allow"
    Action   = "s3:PutObject"
    Resource = "${local.s3}/backups/${var.name}/*"
  }]

  kms = [for arn in compact([var.kms_key_arn]) : {
    Sid       = "OpenTheBucket"
    Effect    = "Allow"
    Action    = ["kms:Decrypt", "kms:GenerateDataKey"]
    Resource  = arn
    Condition = { StringEquals = { "kms:ViaService" = "s3.${var.bucket_region}.${local.dns_suffix}" } }
  }]

  # Disks that are encrypted with a key of the operator's own: EC2 takes a grant for as long as they are attached.
  ebs_kms = flatten([for arn in compact([var.ebs_kms_key_arn]) : [
    {
      Sid       = "OpenDisks"
      Effect    = "Allow"
      Action    = ["kms:Decrypt", "kms:DescribeKey", "kms:GenerateDataKeyWithoutPlaintext", "kms:ReEncryptFrom", "kms:ReEncryptTo"]
      Resource  = arn
      Condition = { StringEquals = { "kms:ViaService" = "ec2.${var.region}.${local.dns_suffix}" } }
    },
    {
      Sid      = "LendTheDisksKeyToEc2"
      Effect   = "Allow"
      Action   = "kms:CreateGrant"
      Resource = arn
      Condition = {
        StringEquals = { "kms:ViaService" = "ec2.${var.region}.${local.dns_suffix}" }
        Bool         = { "kms:GrantIsForAWSResource" = "true" }
      }
    },
  ]])

  ecr = concat(
    [{
      # Has no resource of its own: the token can pull what the role can.
      Sid      = "EcrToken"
      Effect   = "Allow"
      Action   = "ecr:GetAuthorizationToken"
      Resource = "*"
    }],
    [for arns in [var.ecr_repository_arns] : {
      Sid      = "EcrPull"
      Effect   = "Allow"
      Action   = ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"]
      Resource = arns
    } if length(arns) > 0],
  )

  # A new API instance requests the volume (by a tag the old one reads), and stops the old one if it does not answer.
  hand_over = flatten([for volume in compact([var.data_volume_arn]) : [
    {
      Sid      = "SeeVolumes"
      Effect   = "Allow"
      Action   = ["ec2:DescribeVolumes", "ec2:DescribeSnapshots"]
      Resource = "*"
    },
    {
      Sid       = "MoveTheDataVolume"
      Effect    = "Allow"
      Action    = ["ec2:AttachVolume", "ec2:DetachVolume"]
      Resource  = [volume, "${local.own}:instance/*"]
      Condition = { StringEquals = { "aws:ResourceTag/${local.stack_tag}" = var.name } }
    },
    {
      Sid       = "StopThePredecessor"
      Effect    = "Allow"
      Action    = "ec2:StopInstances"
      Resource  = "${local.own}:instance/*"
      Condition = { StringEquals = { "aws:ResourceTag/${local.stack_tag}" = var.name } }
    },
    {
      Sid      = "AskThePredecessor"
      Effect   = "Allow"
      Action   = "ec2:CreateTags"
      Resource = "${local.own}:instance/*"
      Condition = {
        StringEquals                = { "aws:ResourceTag/${local.stack_tag}" = var.name }
        "ForAllValues:StringEquals" = { "aws:TagKeys" = ["scheduler-api:release"] }
        Null                        = { "aws:TagKeys" = "false" }
      }
    },
  ]])

  # The scheduler's own, of the data volume. The role may not delete those that others made.
  snapshots = flatten([for volume in compact([var.data_volume_arn]) : [
    {
      Sid      = "SnapshotOfTheDataVolume"
      Effect   = "Allow"
      Action   = "ec2:CreateSnapshot"
      Resource = volume
    },
    {
      Sid      = "SnapshotTagged"
      Effect   = "Allow"
      Action   = "ec2:CreateSnapshot"
      Resource = "${local.ec2}::snapshot/*"
      Condition = {
        StringEquals = { "aws:RequestTag/${local.stack_tag}" = var.name }
        Null         = { "aws:RequestTag/${local.snapshot_tag}" = "false" }
      }
    },
    {
      # Never afterwards: with that the role could make any snapshot ours, and then delete it.
      Sid      = "TagAtSnapshot"
      Effect   = "Allow"
      Action   = "ec2:CreateTags"
      Resource = "${local.ec2}::snapshot/*"
      Condition = { StringEquals = {
        "ec2:CreateAction"                  = "CreateSnapshot"
        "aws:RequestTag/${local.stack_tag}" = var.name
      } }
    },
    {
      Sid      = "DeleteOwnSnapshots"
      Effect   = "Allow"
      Action   = "ec2:DeleteSnapshot"
      Resource = "${local.ec2}::snapshot/*"
      Condition = {
        StringEquals = { "aws:ResourceTag/${local.stack_tag}" = var.name }
        Null         = { "aws:ResourceTag/${local.snapshot_tag}" = "false" }
      }
    },
  ]])

  address = [for arn in compact([var.address_arn]) : {
    Sid       = "TakeThePublicAddress"
    Effect    = "Allow"
    Action    = "ec2:AssociateAddress"
    Resource  = [arn, "${local.own}:instance/*"]
    Condition = { StringEquals = { "aws:ResourceTag/${local.stack_tag}" = var.name } }
  }]

  dns = [for record in [var.private_record] : {
    Sid      = "PointTheNameHere"
    Effect   = "Allow"
    Action   = "route53:ChangeResourceRecordSets"
    Resource = "arn:${var.partition}:route53:::hostedzone/${record.zone_id}"
    Condition = { "ForAllValues:StringEquals" = {
      # As Route 53 writes them, an asterisk in octal.
      "route53:ChangeResourceRecordSetsNormalizedRecordNames" = [
        for name in compact([record.name, record.jobs_name]) : replace(trimsuffix(lower(name), "."), "*", "\\052")
      ]
      "route53:ChangeResourceRecordSetsRecordTypes" = ["A"]
      "route53:ChangeResourceRecordSetsActions"     = ["UPSERT"]
    } }
  } if record != null]
}

output "json" {
  value = jsonencode({
    Version = "2012-10-17"
    # Lists of differing objects: concat would have to unify their types.
    Statement = flatten([
      local.fleet, local.unread, local.spot, local.profiles, local.storage, local.backups, local.kms, local.ebs_kms, local.ecr,
      local.hand_over, local.snapshots, local.address, local.dns, local.ssm,
    ])
  })
}
