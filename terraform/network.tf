data "aws_partition" "current" {}

data "aws_caller_identity" "current" {}

data "aws_vpc" "this" {
  id      = var.vpc_id
  default = var.vpc_id == null ? true : null
}

data "aws_subnets" "default" {
  filter {
    name   = "vpc-id"
    values = [data.aws_vpc.this.id]
  }
  filter {
    name   = "default-for-az"
    values = ["true"]
  }
}

data "aws_subnet" "api" {
  id = var.subnet_id != null ? var.subnet_id : try(local.job_subnet_ids[0], null)

  lifecycle {
    precondition {
      condition     = var.subnet_id != null || length(local.job_subnet_ids) > 0
      error_message = "The VPC has no default subnets: set subnet_id and job_subnet_ids."
    }
  }
}

locals {
  job_subnet_ids = length(var.job_subnet_ids) > 0 ? var.job_subnet_ids : sort(data.aws_subnets.default.ids)
  has_alb        = var.certificate_arn != null

  # Whoever may call the API: port 80 of the instance, or 443 of the load balancer.
  door      = local.has_alb ? aws_security_group.alb[0].id : aws_security_group.api.id
  door_port = local.has_alb ? 443 : 80
}

resource "aws_security_group" "api" {
  name_prefix = "${var.name}-api-"
  description = "Scheduler API"
  vpc_id      = data.aws_vpc.this.id
  tags        = { Name = "${var.name}-api" }

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_vpc_security_group_egress_rule" "api" {
  security_group_id = aws_security_group.api.id
  description       = "AWS, registries"
  ip_protocol       = "-1"
  cidr_ipv4         = "0.0.0.0/0"
}

resource "aws_vpc_security_group_ingress_rule" "users" {
  for_each = toset(var.allowed_cidrs)

  security_group_id = local.door
  description       = "Users"
  ip_protocol       = "tcp"
  from_port         = local.door_port
  to_port           = local.door_port
  cidr_ipv4         = each.value
}

resource "aws_vpc_security_group_ingress_rule" "agents" {
  security_group_id            = local.door
  description                  = "Agents of jobs"
  ip_protocol                  = "tcp"
  from_port                    = local.door_port
  to_port                      = local.door_port
  referenced_security_group_id = aws_security_group.jobs.id
}

resource "aws_security_group" "jobs" {
  name_prefix = "${var.name}-jobs-"
  description = "Instances of jobs: nothing comes in but what job_ingress allows"
  vpc_id      = data.aws_vpc.this.id
  tags        = { Name = "${var.name}-jobs" }

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_vpc_security_group_egress_rule" "jobs" {
  security_group_id = aws_security_group.jobs.id
  description       = "The API, registries"
  ip_protocol       = "-1"
  cidr_ipv4         = "0.0.0.0/0"
}

resource "aws_vpc_security_group_ingress_rule" "jobs" {
  for_each = { for rule in var.job_ingress : "${rule.cidr} ${rule.from}-${rule.to}" => rule }

  security_group_id = aws_security_group.jobs.id
  description       = "job_ingress"
  ip_protocol       = "tcp"
  from_port         = each.value.from
  to_port           = each.value.to
  cidr_ipv4         = each.value.cidr
}
