# With api_domain or certificate_arn: TLS for users. Agents do not come by it.

locals {
  alb_subnet_ids = length(var.alb_subnet_ids) > 0 ? var.alb_subnet_ids : local.job_subnet_ids
  # A certificate of the operator's own is, unless they say otherwise, for a name inside their network.
  alb_internal = var.alb_internal != null ? var.alb_internal : var.api_domain == null
  # Others in the VPC reach port 80, too: containers that call each other.
  balancer_port = 81
  domain_name   = var.api_domain != null ? var.api_domain : var.domain_name
  public_zone_id = (
    !local.has_alb ? null
    : var.dns_zone_id != null ? var.dns_zone_id
    : one(data.aws_route53_zone.public[*].zone_id)
  )
}

# The hosted zone that api_domain is in.
data "aws_route53_zone" "public" {
  count = var.api_domain != null && var.dns_zone_id == null ? 1 : 0

  name         = join(".", slice(split(".", var.api_domain), 1, length(split(".", var.api_domain))))
  private_zone = false
}

resource "aws_acm_certificate" "api" {
  count = var.api_domain != null ? 1 : 0

  domain_name       = var.api_domain
  validation_method = "DNS"

  lifecycle {
    create_before_destroy = true
  }
}

# By this record the authority sees that the name is ours, now and at each renewal.
resource "aws_route53_record" "certificate" {
  count = var.api_domain != null ? 1 : 0

  zone_id         = local.public_zone_id
  name            = one(aws_acm_certificate.api[0].domain_validation_options).resource_record_name
  type            = one(aws_acm_certificate.api[0].domain_validation_options).resource_record_type
  records         = [one(aws_acm_certificate.api[0].domain_validation_options).resource_record_value]
  ttl             = 60
  allow_overwrite = true
}

resource "aws_acm_certificate_validation" "api" {
  count = var.api_domain != null ? 1 : 0

  certificate_arn         = aws_acm_certificate.api[0].arn
  validation_record_fqdns = [aws_route53_record.certificate[0].fqdn]

  timeouts {
    create = "20m"
  }
}

resource "aws_security_group" "alb" {
  count = local.has_alb ? 1 : 0

  name_prefix = "${var.name}-alb-"
  description = "Load balancer of the Scheduler API"
  vpc_id      = data.aws_vpc.this.id
  tags        = { Name = "${var.name}-alb" }

  lifecycle {
    create_before_destroy = true
  }
}

# Port 80 as well: an instance of a former release is served there until the next one is.
resource "aws_vpc_security_group_egress_rule" "alb" {
  count = local.has_alb ? 1 : 0

  security_group_id            = aws_security_group.alb[0].id
  description                  = "The API"
  ip_protocol                  = "tcp"
  from_port                    = 80
  to_port                      = local.balancer_port
  referenced_security_group_id = aws_security_group.api.id
}

resource "aws_vpc_security_group_ingress_rule" "alb" {
  count = local.has_alb ? 1 : 0

  security_group_id            = aws_security_group.api.id
  description                  = "The load balancer"
  ip_protocol                  = "tcp"
  from_port                    = 80
  to_port                      = local.balancer_port
  referenced_security_group_id = aws_security_group.alb[0].id
}

resource "aws_lb" "this" {
  count = local.has_alb ? 1 : 0

  name                       = "${var.name}-api"
  internal                   = local.alb_internal
  load_balancer_type         = "application"
  security_groups            = concat([aws_security_group.alb[0].id], aws_security_group.job_callers[*].id)
  subnets                    = local.alb_subnet_ids
  drop_invalid_header_fields = true
  # Above nginx's and the API's own limits, so that these decide when a parked poll or a stream ends.
  idle_timeout = 120
}

resource "aws_lb_target_group" "api" {
  count = local.has_alb ? 1 : 0

  name     = "${var.name}-api"
  port     = 80
  protocol = "HTTP"
  vpc_id   = data.aws_vpc.this.id
  # A parked poll lasts 25 seconds.
  deregistration_delay = 30

  health_check {
    path                = "/health/ready"
    interval            = 5
    timeout             = 4
    healthy_threshold   = 2
    unhealthy_threshold = 2
  }
}

resource "aws_lb_target_group_attachment" "api" {
  count = local.has_alb ? 1 : 0

  target_group_arn = aws_lb_target_group.api[0].arn
  target_id        = aws_instance.api.id
  port             = local.balancer_port

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_lb_listener" "https" {
  count = local.has_alb ? 1 : 0

  load_balancer_arn = aws_lb.this[0].arn
  port              = 443
  protocol          = "HTTPS"
  ssl_policy        = "ELBSecurityPolicy-TLS13-1-2-2021-06"
  certificate_arn   = var.api_domain != null ? aws_acm_certificate_validation.api[0].certificate_arn : var.certificate_arn

  default_action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.api[0].arn
  }
}

resource "aws_route53_record" "alb" {
  count = local.has_alb && (var.api_domain != null || var.dns_zone_id != null) ? 1 : 0

  zone_id = local.public_zone_id
  name    = local.domain_name
  type    = "A"

  alias {
    name                   = aws_lb.this[0].dns_name
    zone_id                = aws_lb.this[0].zone_id
    evaluate_target_health = false
  }
}
