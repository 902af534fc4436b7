# The API's instance. Each change of its user data (a new bundle, a new setting) is a new instance beside the old one:
#   1. the new one is made, installs and builds; the old one serves
#   2. the new one asks the old one for the database's volume: the stack stops there and starts here, which are the
#      seconds without API; agents and their containers go on meanwhile
#   3. the apply sees that the new one serves, and only then ends the old one
# There is no aws_volume_attachment on purpose: Terraform takes one off the old instance before it makes the new one,
# whatever create_before_destroy says, and the API would be away for the whole of step 1.

data "aws_ami" "debian" {
  count = var.ami_id == null ? 1 : 0

  # Debian's own account: by name alone anybody's image could match.
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
  agent_url   = local.has_alb ? "https://${var.domain_name}" : "http://${local.private_record.name}"

  settings = merge(
    {
      CLUSTER                 = var.name
      AWS_REGION              = var.region
      PUBLIC_URL              = local.agent_url
      ALLOWED_SUBNETS         = join(",", local.job_subnet_ids)
      ALLOWED_SECURITY_GROUPS = aws_security_group.jobs.id
      ALLOWED_PROFILES        = join(",", keys(local.job_profile_arns))
      # An instance keeps nothing but Postgres's volume when it is replaced.
      LOGS_URI = "s3://${var.bucket}/${var.log_prefix}jobs"
    },
    var.app_image == "" ? {} : { APP_IMAGE = var.app_image },
    var.database == "rds" ? { POSTGRES_HOST = aws_db_instance.this[0].address } : {},
    # nginx believes the load balancer, and nobody else, who the caller is.
    local.has_alb ? { TRUSTED_PROXY = data.aws_vpc.this.cidr_block } : {},
    var.settings,
  )
}

module "user_data" {
  source = "./user-data"

  name           = var.name
  region         = var.region
  bucket         = var.bucket
  secrets_key    = var.secrets_key
  bundle_key     = var.bundle_key
  log_prefix     = var.log_prefix
  app_image      = var.app_image
  database       = var.database
  data_volume_id = one(aws_ebs_volume.data[*].id)
  record         = local.private_record
  settings       = local.settings
}

resource "aws_instance" "api" {
  ami                         = var.ami_id != null ? var.ami_id : data.aws_ami.debian[0].id
  instance_type               = var.instance_type
  subnet_id                   = data.aws_subnet.api.id
  vpc_security_group_ids      = [aws_security_group.api.id]
  associate_public_ip_address = var.public_ip
  iam_instance_profile        = var.iam == "existing" ? var.existing_instance_profile : aws_iam_instance_profile.api[0].name

  user_data                   = module.user_data.text
  user_data_replace_on_change = true

  metadata_options {
    http_endpoint = "enabled"
    http_tokens   = "required"
    # The hop to the container is the second: the API reads its role's credentials there.
    http_put_response_hop_limit = 2
    # How a successor asks for the volume.
    instance_metadata_tags = "enabled"
  }

  root_block_device {
    volume_type = "gp3"
    volume_size = var.root_disk_gib
    encrypted   = true
  }

  tags = { Name = "${var.name}-api" }

  lifecycle {
    create_before_destroy = true
  }

  # What its first minutes need: permissions, and the way out.
  depends_on = [
    aws_iam_role_policy.api,
    aws_iam_role_policy_attachment.api,
    aws_vpc_security_group_egress_rule.api,
  ]
}

# Postgres's data. It outlives every instance; Terraform refuses to destroy it.
resource "aws_ebs_volume" "data" {
  count = local.uses_volume ? 1 : 0

  availability_zone = data.aws_subnet.api.availability_zone
  type              = "gp3"
  size              = var.data_volume_gib
  snapshot_id       = var.data_snapshot_id
  encrypted         = true
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
      LOG_URI            = "s3://${var.bucket}/${var.log_prefix}boot/"
      WAIT_SECONDS       = var.wait_seconds
      AWS_DEFAULT_REGION = var.region
    }
  }

  lifecycle {
    create_before_destroy = true
  }

  # With an ALB the old instance stays among its targets until the new one serves; and nobody is served without the door.
  depends_on = [
    aws_lb_target_group_attachment.api,
    aws_vpc_security_group_ingress_rule.alb,
  ]
}
