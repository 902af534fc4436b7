# With ingress_count: callers of jobs come to instances of their own behind a network load balancer, so that they do not
# notice when the API's instance is replaced (docs/addresses.md). nginx on the API's instance serves jobs as before, so that
# the names can move to and fro; only the names of addresses.tf lead here.

locals {
  has_ingress = coalesce(var.ingress_count, 0) > 0 && local.has_addresses
  # All of it that the API's instance has to know, apart from the ingress: that comes and goes without another instance. Else
  # an ingress that is still called would find nobody to ask, and go by its last answers for longer than the API reckons with.
  is_ready_for_ingress = var.ingress_count != null && local.has_addresses
  lookup_port          = 8081
  # One port for each listener, as a load balancer that passes connections on cannot tell nginx which it was.
  ingress_ports         = { for name, port in { http = 80, tls = 81 } : name => port if local.has_ingress && (name == "http" || local.has_alb) }
  ingress_instance_type = coalesce(var.ingress_instance_type, var.architecture == "arm64" ? "t4g.micro" : "t3.micro")
  ingress_zones         = toset([for id in local.has_ingress ? local.alb_subnet_ids : [] : data.aws_subnet.ingress[id].availability_zone])
  # In the zones that the load balancer is in, and that have the type.
  ingress_subnet_ids = [
    for id in local.has_ingress ? local.job_subnet_ids : [] : id
    if contains(local.ingress_zones, data.aws_subnet.job[id].availability_zone)
    && contains(flatten(data.aws_ec2_instance_type_offerings.ingress[*].locations), data.aws_subnet.job[id].availability_zone)
  ]
  # As long as an API is away that is replaced, with room (docs/deploy-aws.md): callers go on by the last answers.
  ingress_settings = local.is_ready_for_ingress ? { ADDRESS_STALE_SECONDS = "60" } : {}
  ingress_files = [
    "api-off.inc.template", "headers.inc.template", "ingress-on.inc.template", "nginx.conf.template", "networks.sh", "start.sh",
  ]
  # Of callers among the jobs: the load balancer's addresses in its subnets, which are the same for as long as there is one.
  # Not those of the instances, which another one would have to take over and give back, with a role for that; and not the
  # load balancer's name, which is of its public addresses.
  ingress_private_ips = sort([for one in data.aws_network_interface.ingress : one.private_ip])
}

data "aws_subnet" "ingress" {
  for_each = local.has_ingress ? toset(local.alb_subnet_ids) : toset([])

  id = each.value
}

data "aws_ec2_instance_type_offerings" "ingress" {
  count = local.has_ingress ? 1 : 0

  location_type = "availability-zone"

  filter {
    name   = "instance-type"
    values = [local.ingress_instance_type]
  }
}

# AWS names a load balancer's interfaces after it: «ELB net/<name>/<id>», one in each of its subnets.
data "aws_network_interface" "ingress" {
  for_each = local.has_ingress ? toset(local.alb_subnet_ids) : toset([])

  filter {
    name   = "description"
    values = ["ELB ${aws_lb.ingress[0].arn_suffix}"]
  }
  filter {
    name   = "subnet-id"
    values = [each.value]
  }
}

# --- Who gets in --------------------------------------------------------------------------------------------------------

resource "aws_security_group" "ingress_lb" {
  count = local.has_ingress ? 1 : 0

  name_prefix = "${var.name}-ingress-lb-"
  description = "Load balancer of jobs"
  vpc_id      = data.aws_vpc.this.id
  tags        = { Name = "${var.name}-ingress-lb" }

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_security_group" "ingress" {
  count = local.has_ingress ? 1 : 0

  name_prefix = "${var.name}-ingress-nginx-"
  description = "Instances of the ingress of jobs"
  vpc_id      = data.aws_vpc.this.id
  tags        = { Name = "${var.name}-ingress-nginx" }

  lifecycle {
    create_before_destroy = true
  }
}

# Each port has rules of its own: callers get to the new one once something listens there, and to the former one until the
# names have moved. The records depend on these, so that they are the last to go.
resource "aws_vpc_security_group_ingress_rule" "ingress_callers" {
  for_each = { for cidr in local.has_ingress ? local.ingress_cidrs : [] : "${cidr} ${local.door_port}" => cidr }

  security_group_id = aws_security_group.ingress_lb[0].id
  description       = "Callers of jobs"
  ip_protocol       = "tcp"
  from_port         = local.door_port
  to_port           = local.door_port
  cidr_ipv4         = each.value

  lifecycle {
    create_before_destroy = true
  }

  depends_on = [aws_lb_listener.ingress, aws_lb_listener.ingress_tls]
}

resource "aws_vpc_security_group_ingress_rule" "ingress_calls_between_jobs" {
  count = local.has_ingress ? 1 : 0

  security_group_id            = aws_security_group.ingress_lb[0].id
  description                  = "Calls between jobs"
  ip_protocol                  = "tcp"
  from_port                    = 80
  to_port                      = 80
  referenced_security_group_id = aws_security_group.jobs.id

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_vpc_security_group_ingress_rule" "ingress_calls_of_other_groups" {
  for_each = local.has_ingress ? toset(var.job_security_group_ids) : toset([])

  security_group_id            = aws_security_group.ingress_lb[0].id
  description                  = "Calls between jobs"
  ip_protocol                  = "tcp"
  from_port                    = 80
  to_port                      = 80
  referenced_security_group_id = each.value

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_vpc_security_group_egress_rule" "ingress_lb" {
  for_each = local.ingress_ports

  security_group_id            = aws_security_group.ingress_lb[0].id
  description                  = "The ingress"
  ip_protocol                  = "tcp"
  from_port                    = each.value
  to_port                      = each.value
  referenced_security_group_id = aws_security_group.ingress[0].id
}

resource "aws_vpc_security_group_ingress_rule" "ingress" {
  for_each = local.ingress_ports

  security_group_id            = aws_security_group.ingress[0].id
  description                  = "The load balancer"
  ip_protocol                  = "tcp"
  from_port                    = each.value
  to_port                      = each.value
  referenced_security_group_id = aws_security_group.ingress_lb[0].id
}

resource "aws_vpc_security_group_egress_rule" "ingress" {
  count = local.has_ingress ? 1 : 0

  security_group_id = aws_security_group.ingress[0].id
  description       = "Jobs, the API, packages"
  ip_protocol       = "-1"
  cidr_ipv4         = "0.0.0.0/0"
}

# Where hosts lead: private addresses of jobs, for nobody else.
resource "aws_vpc_security_group_ingress_rule" "lookups" {
  count = local.has_ingress ? 1 : 0

  security_group_id            = aws_security_group.api.id
  description                  = "Lookups of the ingress"
  ip_protocol                  = "tcp"
  from_port                    = local.lookup_port
  to_port                      = local.lookup_port
  referenced_security_group_id = aws_security_group.ingress[0].id
}

resource "aws_vpc_security_group_ingress_rule" "ingress_to_jobs" {
  count = local.has_ingress ? 1 : 0

  security_group_id            = aws_security_group.jobs.id
  description                  = "The ingress, for callers of jobs"
  ip_protocol                  = "tcp"
  from_port                    = 1
  to_port                      = 65535
  referenced_security_group_id = aws_security_group.ingress[0].id
}

# --- The load balancer --------------------------------------------------------------------------------------------------

resource "aws_lb" "ingress" {
  count = local.has_ingress ? 1 : 0

  name               = "${var.name}-jobs"
  internal           = local.has_alb ? local.alb_internal : !var.public_ip
  load_balancer_type = "network"
  security_groups    = [aws_security_group.ingress_lb[0].id]
  subnets            = local.alb_subnet_ids
  # With one instance the addresses of all other zones lead to it.
  enable_cross_zone_load_balancing = true
}

resource "aws_lb_target_group" "ingress" {
  for_each = local.ingress_ports

  name     = "${var.name}-${each.key == "tls" ? "tls" : "jobs"}"
  port     = each.value
  protocol = "TCP"
  vpc_id   = data.aws_vpc.this.id
  # nginx refuses by the caller's address (INGRESS_CIDRS, route.allow).
  preserve_client_ip = "true"
  # For requests and streams under way on an instance that is replaced.
  deregistration_delay = 300

  health_check {
    protocol            = "HTTP"
    path                = "/health/live"
    interval            = 5
    timeout             = 4
    healthy_threshold   = 2
    unhealthy_threshold = 2
  }
}

resource "aws_lb_listener" "ingress" {
  count = local.has_ingress ? 1 : 0

  load_balancer_arn        = aws_lb.ingress[0].arn
  port                     = 80
  protocol                 = "TCP"
  tcp_idle_timeout_seconds = 6000

  default_action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.ingress["http"].arn
  }
}

resource "aws_lb_listener" "ingress_tls" {
  count = local.has_ingress && local.has_alb ? 1 : 0

  load_balancer_arn = aws_lb.ingress[0].arn
  port              = 443
  protocol          = "TLS"
  ssl_policy        = "ELBSecurityPolicy-TLS13-1-2-2021-06"
  certificate_arn   = local.has_jobs_own_tls ? aws_acm_certificate_validation.jobs[0].certificate_arn : var.certificate_arn

  default_action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.ingress["tls"].arn
  }
}

# --- The instances ------------------------------------------------------------------------------------------------------

module "ingress_user_data" {
  source = "./ingress"
  count  = local.has_ingress ? 1 : 0

  image = regex("nginx:[0-9.]+-alpine", file("${path.module}/../docker-compose.yml"))
  files = { for name in local.ingress_files : name => file("${path.module}/../deploy/nginx/${name}") }
  environment = {
    SCHEDULER_HOST   = local.private_record.name
    JOBS_URL         = lookup(var.settings, "JOBS_URL", local.jobs_url)
    JOBS_PRIVATE_URL = lookup(var.settings, "JOBS_PRIVATE_URL", local.jobs_private_url)
    JOBS_HOSTS       = lookup(var.settings, "JOBS_HOSTS", "")
    PUBLIC_URL       = lookup(var.settings, "PUBLIC_URL", local.public_url)
    AGENT_URL        = local.agent_url
    INGRESS_CIDRS    = local.callers.INGRESS_CIDRS
  }
}

resource "aws_launch_template" "ingress" {
  count = local.has_ingress ? 1 : 0

  name_prefix   = "${var.name}-ingress-"
  image_id      = var.ami_id != null ? var.ami_id : data.aws_ami.debian[0].id
  instance_type = local.ingress_instance_type
  # Compressed, as EC2 takes 16 KiB.
  user_data              = sensitive(base64gzip(module.ingress_user_data[0].text))
  update_default_version = true

  network_interfaces {
    associate_public_ip_address = var.public_ip
    security_groups             = [aws_security_group.ingress[0].id]
    delete_on_termination       = true
  }

  metadata_options {
    http_endpoint = "enabled"
    http_tokens   = "required"
  }

  block_device_mappings {
    device_name = "/dev/xvda"

    ebs {
      volume_type           = "gp3"
      volume_size           = 8
      encrypted             = true
      kms_key_id            = var.ebs_kms_key_arn
      delete_on_termination = true
    }
  }

  tag_specifications {
    resource_type = "instance"
    tags          = { Name = "${var.name}-ingress", "scheduler-api:stack" = var.name }
  }
}

resource "aws_autoscaling_group" "ingress" {
  count = local.has_ingress ? 1 : 0

  name_prefix         = "${var.name}-ingress-"
  min_size            = var.ingress_count
  max_size            = var.ingress_count
  desired_capacity    = var.ingress_count
  vpc_zone_identifier = local.ingress_subnet_ids
  target_group_arns   = [for one in aws_lb_target_group.ingress : one.arn]
  # nginx that does not serve is a broken instance. Less than the warm-up: one that does not come up ends the refresh before
  # another one that serves is taken away.
  health_check_type         = "ELB"
  health_check_grace_period = 300
  # The apply goes on once so many serve; the names come after that.
  wait_for_elb_capacity     = var.wait_seconds > 0 ? var.ingress_count : null
  wait_for_capacity_timeout = var.wait_seconds > 0 ? "${var.wait_seconds}s" : "0"

  launch_template {
    id      = aws_launch_template.ingress[0].id
    version = aws_launch_template.ingress[0].latest_version
  }

  # The next one serves before the former is taken away, one at a time.
  instance_refresh {
    strategy = "Rolling"

    preferences {
      min_healthy_percentage = 100
      max_healthy_percentage = var.ingress_count == 1 ? 200 : 150
      instance_warmup        = 420
    }
  }

  lifecycle {
    create_before_destroy = true

    precondition {
      condition     = length(local.ingress_subnet_ids) > 0
      error_message = "None of the zones of job_subnet_ids and of the load balancer has ${local.ingress_instance_type}: set another ingress_instance_type, or alb_subnet_ids."
    }
  }

  depends_on = [
    aws_lb_listener.ingress,
    aws_lb_listener.ingress_tls,
    aws_vpc_security_group_egress_rule.ingress,
    aws_vpc_security_group_egress_rule.ingress_lb,
    aws_vpc_security_group_ingress_rule.ingress,
    aws_vpc_security_group_ingress_rule.ingress_to_jobs,
    aws_vpc_security_group_ingress_rule.lookups,
  ]
}
