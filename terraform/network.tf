data "aws_partition" "current" {}

data "aws_caller_identity" "current" {}

data "aws_vpc" "this" {
  id      = var.vpc_id
  default = var.vpc_id == null ? true : null

  lifecycle {
    postcondition {
      condition     = self.enable_dns_support && self.enable_dns_hostnames
      error_message = "Agents find the API by a name in a private zone, which this VPC does not answer: switch on its DNS resolution and DNS hostnames (aws ec2 modify-vpc-attribute --enable-dns-support, --enable-dns-hostnames)."
    }
  }
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

data "aws_subnet" "job" {
  for_each = toset(local.job_subnet_ids)

  id = each.value
}

# Not every zone has every type: us-east-1e has no t3, for one.
data "aws_ec2_instance_type_offerings" "api" {
  location_type = "availability-zone"

  filter {
    name   = "instance-type"
    values = [var.instance_type]
  }
}

data "aws_subnet" "api" {
  id = var.subnet_id != null ? var.subnet_id : try(local.api_subnet_ids[0], null)

  lifecycle {
    precondition {
      condition     = var.subnet_id != null || length(local.job_subnet_ids) > 0
      error_message = "The VPC has no default subnets: set subnet_id and job_subnet_ids."
    }
    precondition {
      condition     = var.subnet_id != null || length(local.job_subnet_ids) == 0 || length(local.api_subnet_ids) > 0
      error_message = "None of the zones of job_subnet_ids has ${var.instance_type}: set another instance_type, or subnet_id."
    }
    postcondition {
      condition     = contains(data.aws_ec2_instance_type_offerings.api.locations, self.availability_zone)
      error_message = "${self.availability_zone}, the zone of ${self.id}, has no ${var.instance_type}: set another instance_type or subnet_id."
    }
  }
}

locals {
  job_subnet_ids = length(var.job_subnet_ids) > 0 ? var.job_subnet_ids : sort(data.aws_subnets.default.ids)
  # Where the API's instance can be; the order is kept, as its volume stays in the zone of the first.
  api_subnet_ids = [
    for id in local.job_subnet_ids : id
    if contains(data.aws_ec2_instance_type_offerings.api.locations, data.aws_subnet.job[id].availability_zone)
  ]
  has_alb = var.certificate_arn != null || var.api_domain != null
  # Sorted, as AWS lists them in any order, and they are in the instance's user data.
  vpc_cidrs = sort(distinct(concat(
    [data.aws_vpc.this.cidr_block],
    [for one in data.aws_vpc.this.cidr_block_associations : one.cidr_block if one.state == "associated"],
  )))

  # Who may call the API: port 80 of the instance, or 443 of the load balancer.
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

# Replaced when TLS is switched on or off. The rule before goes last: until the new instance serves, users come by it.
resource "aws_vpc_security_group_ingress_rule" "users" {
  for_each = toset(var.allowed_cidrs)

  security_group_id = local.door
  description       = "Users"
  ip_protocol       = "tcp"
  from_port         = local.door_port
  to_port           = local.door_port
  cidr_ipv4         = each.value

  lifecycle {
    create_before_destroy = true
  }
}

# Agents come to the instance itself, with or without a load balancer, by TLS with keys that they know (AGENT_PINS).
resource "aws_vpc_security_group_ingress_rule" "agents_tls" {
  security_group_id            = aws_security_group.api.id
  description                  = "Agents of jobs"
  ip_protocol                  = "tcp"
  from_port                    = local.agent_port
  to_port                      = local.agent_port
  referenced_security_group_id = aws_security_group.jobs.id
}

# Those of instances that were launched before there was TLS for agents: they keep the address they were launched with.
# Containers that call other jobs come by it, too.
resource "aws_vpc_security_group_ingress_rule" "agents" {
  security_group_id            = aws_security_group.api.id
  description                  = "Agents of jobs, without TLS"
  ip_protocol                  = "tcp"
  from_port                    = 80
  to_port                      = 80
  referenced_security_group_id = aws_security_group.jobs.id

  lifecycle {
    create_before_destroy = true
  }
}

# Jobs in groups of the operator's own.
resource "aws_vpc_security_group_ingress_rule" "agents_of_other_groups" {
  for_each = toset(var.job_security_group_ids)

  security_group_id            = aws_security_group.api.id
  description                  = "Agents of jobs"
  ip_protocol                  = "tcp"
  from_port                    = local.agent_port
  to_port                      = local.agent_port
  referenced_security_group_id = each.value
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
