# What the API's role may do, as JSON. No resources here: it can be evaluated without provider or account, and is, by
# test/integration/terraform.spec.ts, which also compares it with the calls that src/aws makes.

variable "partition" { type = string }
variable "account_id" { type = string }
variable "region" { type = string }
variable "name" { type = string }
variable "job_subnet_ids" { type = list(string) }
variable "job_security_group_ids" { type = list(string) }
variable "job_role_arns" { type = list(string) }
variable "bucket" { type = string }
variable "secrets_key" { type = string }
variable "log_prefix" { type = string }
variable "kms_key_arn" {
  type    = string
  default = null
}
variable "ecr_repository_arns" { type = list(string) }
variable "data_volume_arn" {
  description = "Volume this stack's instances hand to each other; null = none."
  type        = string
  default     = null
}
variable "private_record" {
  description = "The name this stack's instances point at themselves; null = none."
  type        = object({ zone_id = string, name = string })
  default     = null
}

locals {
  # As in src/aws/ec2-types.ts.
  cluster_tag = "scheduler-api:cluster"
  # On what Terraform made: the API's own instances, never the jobs'.
  stack_tag = "scheduler-api:stack"

  ec2 = "arn:${var.partition}:ec2:${var.region}"
  own = "${local.ec2}:${var.account_id}"
  s3  = "arn:${var.partition}:s3:::${var.bucket}"

  launched = [for type in ["instance", "volume", "network-interface", "spot-instances-request"] : "${local.own}:${type}/*"]

  fleet = [
    {
      Sid      = "See"
      Effect   = "Allow"
      Action   = ["ec2:DescribeInstances", "ec2:DescribeInstanceStatus", "ec2:DescribeImages", "ec2:DescribeSubnets"]
      Resource = "*"
    },
    {
      # What a launch uses but does not make. Images have no account: Amazon owns the default one.
      Sid    = "LaunchWith"
      Effect = "Allow"
      Action = "ec2:RunInstances"
      Resource = concat(
        ["${local.ec2}::image/*", "${local.ec2}::snapshot/*"],
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
      Condition = { StringEquals = {
        "ec2:CreateAction"                    = "RunInstances"
        "aws:RequestTag/${local.cluster_tag}" = var.name
      } }
    },
    {
      # Never the cluster tag: whoever may set it could make any instance ours, and then end it.
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

  profiles = [for arns in [var.job_role_arns] : {
    Sid       = "GiveJobsTheirRole"
    Effect    = "Allow"
    Action    = "iam:PassRole"
    Resource  = arns
    Condition = { StringEquals = { "iam:PassedToService" = "ec2.amazonaws.com" } }
  } if length(arns) > 0]

  storage = [
    {
      Sid      = "ReadSecretsAndBundles"
      Effect   = "Allow"
      Action   = "s3:GetObject"
      Resource = ["${local.s3}/${var.secrets_key}", "${local.s3}/bundles/*"]
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

  kms = [for arn in compact([var.kms_key_arn]) : {
    Sid       = "OpenTheBucket"
    Effect    = "Allow"
    Action    = ["kms:Decrypt", "kms:GenerateDataKey"]
    Resource  = arn
    Condition = { StringEquals = { "kms:ViaService" = "s3.${var.region}.amazonaws.com" } }
  }]

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

  # A new API instance asks the old one for the volume (a tag the old one reads), and stops it if it does not answer.
  hand_over = flatten([for volume in compact([var.data_volume_arn]) : [
    {
      Sid      = "SeeVolumes"
      Effect   = "Allow"
      Action   = "ec2:DescribeVolumes"
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

  dns = [for record in [var.private_record] : {
    Sid      = "PointTheNameHere"
    Effect   = "Allow"
    Action   = "route53:ChangeResourceRecordSets"
    Resource = "arn:${var.partition}:route53:::hostedzone/${record.zone_id}"
    Condition = { "ForAllValues:StringEquals" = {
      "route53:ChangeResourceRecordSetsNormalizedRecordNames" = [record.name]
      "route53:ChangeResourceRecordSetsRecordTypes"           = ["A"]
      "route53:ChangeResourceRecordSetsActions"               = ["UPSERT"]
    } }
  } if record != null]
}

output "json" {
  value = jsonencode({
    Version = "2012-10-17"
    # Lists of differing objects: concat would have to unify their types.
    Statement = [for text in concat(
      [for s in local.fleet : jsonencode(s)],
      [for s in local.profiles : jsonencode(s)],
      [for s in local.storage : jsonencode(s)],
      [for s in local.kms : jsonencode(s)],
      [for s in local.ecr : jsonencode(s)],
      [for s in local.hand_over : jsonencode(s)],
      [for s in local.dns : jsonencode(s)],
    ) : jsondecode(text)]
  })
}
