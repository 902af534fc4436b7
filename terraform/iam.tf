# Three ways to the API's permissions: variable iam.

locals {
  job_profile_arns = merge(
    { for role in aws_iam_role.job : "${var.name}-job" => role.arn },
    var.job_profiles,
  )
}

module "policy" {
  source = "./policy"

  partition              = data.aws_partition.current.partition
  account_id             = data.aws_caller_identity.current.account_id
  region                 = var.region
  name                   = var.name
  job_subnet_ids         = local.job_subnet_ids
  job_security_group_ids = concat([aws_security_group.jobs.id], var.job_security_group_ids)
  job_role_arns          = values(local.job_profile_arns)
  job_ami_owners         = concat(["amazon"], var.job_ami_owners)
  bucket                 = var.bucket
  secrets_key            = var.secrets_key
  agent_keys_prefix      = var.agent_keys_prefix
  log_prefix             = var.log_prefix
  bucket_region          = var.bucket_region != null ? var.bucket_region : var.region
  kms_key_arn            = var.kms_key_arn
  ebs_kms_key_arn        = var.ebs_kms_key_arn
  ecr_repository_arns    = var.ecr_repository_arns
  data_volume_arn        = local.uses_volume ? aws_ebs_volume.data[0].arn : null
  address_arn            = one(aws_eip.api[*].arn)
  private_record         = local.private_record
  ssm                    = var.ssm
}

data "aws_iam_policy_document" "ec2" {
  statement {
    actions = ["sts:AssumeRole"]
    principals {
      type        = "Service"
      identifiers = ["ec2.${data.aws_partition.current.dns_suffix}"]
    }
  }
}

resource "aws_iam_role" "api" {
  count = var.iam == "existing" ? 0 : 1

  name_prefix          = "${var.name}-api-"
  description          = "Scheduler API"
  assume_role_policy   = data.aws_iam_policy_document.ec2.json
  permissions_boundary = var.permissions_boundary_arn

  lifecycle {
    create_before_destroy = true
  }
}

# Inline: it needs no iam:CreatePolicy, and it cannot be attached elsewhere.
resource "aws_iam_role_policy" "api" {
  count = var.iam == "create" ? 1 : 0

  name   = "scheduler-api"
  role   = aws_iam_role.api[0].id
  policy = module.policy.json
}

resource "aws_iam_role_policy_attachment" "api" {
  for_each = var.iam == "managed" ? toset(var.managed_policy_arns) : toset([])

  role       = aws_iam_role.api[0].name
  policy_arn = replace(each.value, "/^arn:aws:/", "arn:${data.aws_partition.current.partition}:")
}

# What the SSM agent needs is in our own policy. AWS's: AmazonSSMManagedInstanceCore without the account's parameters.
resource "aws_iam_role_policy_attachment" "ssm" {
  count = var.ssm && var.iam == "managed" ? 1 : 0

  role       = aws_iam_role.api[0].name
  policy_arn = "arn:${data.aws_partition.current.partition}:iam::aws:policy/AmazonSSMManagedEC2InstanceDefaultPolicy"
}

resource "aws_iam_instance_profile" "api" {
  count = var.iam == "existing" ? 0 : 1

  name_prefix = "${var.name}-api-"
  role        = aws_iam_role.api[0].name

  lifecycle {
    create_before_destroy = true
  }
}

# The role of jobs that name the profile <name>-job; with iam = managed the API could not pass it on.
resource "aws_iam_role" "job" {
  count = var.iam == "create" ? 1 : 0

  name                 = "${var.name}-job"
  description          = "Containers of jobs"
  assume_role_policy   = data.aws_iam_policy_document.ec2.json
  permissions_boundary = var.permissions_boundary_arn
}

resource "aws_iam_role_policy_attachment" "job" {
  for_each = var.iam == "create" ? toset(var.job_policy_arns) : toset([])

  role       = aws_iam_role.job[0].name
  policy_arn = each.value
}

resource "aws_iam_instance_profile" "job" {
  count = var.iam == "create" ? 1 : 0

  name = "${var.name}-job"
  role = aws_iam_role.job[0].name
}
