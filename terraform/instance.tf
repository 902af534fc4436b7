# The API's instance. Each change of its user data (a new bundle, a new setting) is a new instance next to the old one:
#   1. the new one is made, installs and builds; the old one serves
#   2. the new one requests the database's volume of the old one: the stack stops there and starts here, which are the
#      seconds without API; agents and their containers go on meanwhile
#   3. the apply sees that the new one serves, and only then ends the old one
# There is no aws_volume_attachment on purpose: Terraform takes one off the old instance before it makes the new one,
# whatever create_before_destroy says, and the API would be away for the whole of step 1.

data "aws_ami" "debian" {
  count = var.ami_id == null ? 1 : 0

  # Debian's own account: by name alone an image of any account could match.
  owners      = ["136693071363"]
  most_recent = true

  filter {
    name   = "name"
    values = ["debian-12-${var.architecture}-*"]
  }
  filter {
    name   = "virtualization-type"
    values = ["hvm"]
  }
}

locals {
  uses_volume = var.database == "volume"
  agent_port  = 8443
  agent_url   = "https://${local.private_record.name}:${local.agent_port}"
  has_eip     = var.public_ip && var.elastic_ip
  public_ip   = local.has_eip ? aws_eip.api[0].public_ip : aws_instance.api.public_ip
  # With an address that changes with every instance, the instance's user data cannot hold it.
  public_url = (
    local.has_alb ? "https://${local.domain_name}"
    : "http://${local.has_eip ? aws_eip.api[0].public_ip : local.private_record.name}"
  )
  url = local.has_alb || local.has_eip || !var.public_ip ? local.public_url : "http://${local.public_ip}"

  # What the stack decides, as its permissions and its network follow: no line of the .env file in S3 changes it.
  decided = merge(
    {
      CLUSTER                 = var.name
      AWS_REGION              = var.region
      AGENT_URL               = local.agent_url
      ALLOWED_SUBNETS         = join(",", local.job_subnet_ids)
      ALLOWED_SECURITY_GROUPS = join(",", concat([aws_security_group.jobs.id], var.job_security_group_ids))
      ALLOWED_PROFILES        = join(",", keys(local.job_profile_arns))
      ALLOWED_AMIS            = join(",", concat(["ecs-al2023", "ecs-al2023-arm64"], var.job_amis))
    },
    var.database == "rds" ? { POSTGRES_HOST = aws_db_instance.this[0].address } : {},
    local.uses_volume ? { DATA_VOLUME_ID = aws_ebs_volume.data[0].id } : {},
    local.has_callers ? local.callers : {},
  )

  # What the .env file in S3 may say otherwise.
  settings = merge(
    {
      PUBLIC_URL = local.public_url
      # An instance keeps nothing but Postgres's volume when it is replaced.
      LOGS_URI = "s3://${var.bucket}/${var.log_prefix}jobs"
    },
    var.app_image == "" ? {} : { APP_IMAGE = var.app_image },
    local.has_addresses ? { JOBS_URL = local.jobs_url, JOBS_PRIVATE_URL = local.jobs_private_url } : {},
    # nginx trusts only the load balancer for the caller's address: it comes from the VPC, to a port that is its own.
    local.has_alb ? { TRUSTED_PROXY = join(",", local.vpc_cidrs) } : {},
    local.ingress_settings,
    var.settings,
  )
}

# Where users find the API, whatever instance serves. The instance takes it when it serves, with the name of dns.tf, and
# Terraform never attaches it: that would take it off the old instance before the new one is made.
resource "aws_eip" "api" {
  count = local.has_eip ? 1 : 0

  domain = "vpc"
  tags   = { Name = "${var.name}-api" }
}

module "user_data" {
  source = "./user-data"

  name              = var.name
  region            = var.region
  bucket            = var.bucket
  secrets_key       = var.secrets_key
  secrets_version   = var.secrets_version
  instance_type     = var.instance_type
  agent_keys_prefix = var.agent_keys_prefix
  bundle_key        = var.bundle_key
  log_prefix        = var.log_prefix
  app_image         = var.app_image
  database          = var.database
  # https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/UsingWithRDS.SSL.html
  rds_authorities_url = lookup({
    aws-cn     = "https://rds-truststore.s3.cn-north-1.amazonaws.com.cn/global/global-bundle.pem"
    aws-us-gov = "https://truststore.pki.us-gov-west-1.rds.amazonaws.com/global/global-bundle.pem"
  }, data.aws_partition.current.partition, "https://truststore.pki.rds.amazonaws.com/global/global-bundle.pem")
  data_volume_id = local.uses_volume ? aws_ebs_volume.data[0].id : null
  address_id     = one(aws_eip.api[*].id)
  record         = local.private_record
  balancer_port  = local.has_alb ? local.balancer_port : null
  lookup_port    = local.is_ready_for_ingress ? local.lookup_port : null
  ssm_agent_url  = var.ssm ? "https://s3.${var.region}.${data.aws_partition.current.dns_suffix}/amazon-ssm-${var.region}/latest" : ""
  decided        = local.decided
  settings       = local.settings
}

resource "aws_instance" "api" {
  ami                         = var.ami_id != null ? var.ami_id : data.aws_ami.debian[0].id
  instance_type               = var.instance_type
  subnet_id                   = data.aws_subnet.api.id
  vpc_security_group_ids      = concat([aws_security_group.api.id], local.has_alb ? [] : aws_security_group.job_callers[*].id)
  associate_public_ip_address = var.public_ip
  iam_instance_profile        = var.iam == "existing" ? var.existing_instance_profile : aws_iam_instance_profile.api[0].name

  # Compressed, as EC2 takes 16 KiB; cloud-init unpacks it. It holds no secret; else a plan would show its 19 kB.
  user_data_base64            = sensitive(base64gzip(module.user_data.text))
  user_data_replace_on_change = true

  metadata_options {
    http_endpoint = "enabled"
    http_tokens   = "required"
    # The hop to the container is the second: the API reads its role's credentials there.
    http_put_response_hop_limit = 2
    # How a successor requests the volume.
    instance_metadata_tags = "enabled"
  }

  root_block_device {
    volume_type = "gp3"
    volume_size = var.root_disk_gib
    encrypted   = true
    kms_key_id  = var.ebs_kms_key_arn
  }

  tags = { Name = "${var.name}-api" }

  lifecycle {
    create_before_destroy = true
  }

  # What its first minutes need: permissions, and the way out.
  depends_on = [
    aws_iam_role_policy.api,
    aws_iam_role_policy_attachment.api,
    aws_iam_role_policy_attachment.ssm,
    aws_vpc_security_group_egress_rule.api,
  ]
}

# Postgres's data. It outlives every instance; Terraform refuses to destroy it.
resource "aws_ebs_volume" "data" {
  count = local.uses_volume || var.keep_data_volume ? 1 : 0

  availability_zone = data.aws_subnet.api.availability_zone
  type              = "gp3"
  size              = var.data_volume_gib
  snapshot_id       = var.data_snapshot_id
  encrypted         = true
  kms_key_id        = var.ebs_kms_key_arn
  tags              = { Name = "${var.name}-data" }

  lifecycle {
    prevent_destroy = true
  }
}

# Holds the apply until the new instance serves. If it never does, the apply fails and the old instance stays.
resource "terraform_data" "serving" {
  count = var.wait_seconds > 0 ? 1 : 0

  triggers_replace = aws_instance.api.id

  provisioner "local-exec" {
    command = "sh '${path.module}/wait-until-serving.sh'"
    environment = {
      INSTANCE_ID        = aws_instance.api.id
      ADDRESS_ID         = local.has_eip ? aws_eip.api[0].id : ""
      LOG_URI            = "s3://${var.bucket}/${var.log_prefix}boot/"
      WAIT_SECONDS       = var.wait_seconds
      AWS_DEFAULT_REGION = var.region
    }
  }

  lifecycle {
    create_before_destroy = true
  }

  # With an ALB the old instance stays among its targets until the new one serves; and without the rule no request arrives.
  depends_on = [
    aws_lb_target_group_attachment.api,
    aws_lb_listener.https,
    aws_vpc_security_group_ingress_rule.alb,
    aws_vpc_security_group_ingress_rule.users,
    aws_vpc_security_group_ingress_rule.agents,
    aws_vpc_security_group_ingress_rule.agents_tls,
    aws_vpc_security_group_ingress_rule.agents_of_other_groups,
    aws_vpc_security_group_ingress_rule.nginx,
    aws_vpc_security_group_ingress_rule.lookups,
  ]
}
