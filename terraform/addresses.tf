# Addresses of jobs (docs/addresses.md): nginx on the API's instance serves every host below jobs_domain, behind the same load
# balancer as the API where there is one; without it, below a name made of the Elastic IP (jobs_wildcard_dns); and for callers
# among the jobs below a name of the private zone. Who may call jobs (ingress_cidrs) may be others than who may call the API:
# the security groups admit both, and nginx refuses by host and caller.

locals {
  # By variables alone, as how many of something there are must be known before anything is made.
  has_jobs_domain = var.jobs_domain != null
  has_ip_name     = !local.has_jobs_domain && local.has_eip && !local.has_alb && var.jobs_wildcard_dns != null && var.jobs_wildcard_dns != ""
  has_addresses   = local.has_jobs_domain || local.has_ip_name
  jobs_url = (
    local.has_jobs_domain ? "${local.has_alb ? "https" : "http"}://${var.jobs_domain}"
    : local.has_ip_name ? "http://${replace(aws_eip.api[0].public_ip, ".", "-")}.${var.jobs_wildcard_dns}"
    : null
  )
  ingress_cidrs = var.ingress_cidrs != null ? var.ingress_cidrs : var.allowed_cidrs
  # Of names for callers among the jobs (JOBS_PRIVATE_URL): by http also where JOBS_URL has https, which ends before nginx.
  jobs_private_domain = "jobs.${trimsuffix(lower(local.private_zone_name), ".")}"
  jobs_private_url    = local.has_addresses ? "http://${local.jobs_private_domain}" : null
  # What nginx goes by, in the instance's user data: another list is another instance. So it has none where the security
  # groups are enough, as nobody comes to port 80 who may not call the API as well: users, and containers in the jobs' own
  # group, whose agents come by it. All of the VPC may call jobs.
  has_callers = local.has_addresses && (toset(local.ingress_cidrs) != toset(var.allowed_cidrs) || length(var.job_security_group_ids) > 0)
  callers = {
    ALLOWED_CIDRS = join(",", var.allowed_cidrs)
    INGRESS_CIDRS = join(",", distinct(concat(local.ingress_cidrs, local.vpc_cidrs)))
  }
  # Those whom the API's own door does not admit.
  job_callers = local.has_addresses ? setsubtract(local.ingress_cidrs, var.allowed_cidrs) : toset([])
  # With a certificate of the operator's own, names are theirs to make as well, unless they name the zone.
  has_jobs_record  = local.has_jobs_domain && (var.certificate_arn == null || var.dns_zone_id != null)
  has_jobs_own_tls = local.has_jobs_domain && var.api_domain != null
}

data "aws_route53_zone" "jobs" {
  count = local.has_jobs_record ? 1 : 0

  zone_id      = var.dns_zone_id
  name         = var.dns_zone_id != null ? null : join(".", slice(split(".", var.jobs_domain), 1, length(split(".", var.jobs_domain))))
  private_zone = var.dns_zone_id != null ? null : false

  lifecycle {
    # The provider would make *.jobs.example.net.example.com.
    postcondition {
      condition     = endswith(".${var.jobs_domain}", ".${trimsuffix(self.name, ".")}")
      error_message = "jobs_domain is not in the zone ${self.name}: name its zone (dns_zone_id), or leave dns_zone_id out for the zones one part above the names."
    }
  }
}

# The last to change: callers are led to where nginx serves jobs already.
resource "aws_route53_record" "jobs" {
  count = local.has_jobs_record ? 1 : 0

  zone_id = data.aws_route53_zone.jobs[0].zone_id
  name    = "*.${var.jobs_domain}"
  type    = "A"
  ttl     = local.has_alb || local.has_ingress ? null : 60
  records = local.has_alb || local.has_ingress ? null : [var.public_ip ? local.public_ip : aws_instance.api.private_ip]

  dynamic "alias" {
    for_each = slice(concat(aws_lb.ingress, aws_lb.this), 0, local.has_ingress || local.has_alb ? 1 : 0)

    content {
      name                   = alias.value.dns_name
      zone_id                = alias.value.zone_id
      evaluate_target_health = false
    }
  }

  depends_on = [
    terraform_data.serving,
    aws_lb_listener_certificate.jobs,
    aws_vpc_security_group_ingress_rule.job_callers,
    aws_vpc_security_group_ingress_rule.ingress_callers,
    aws_autoscaling_group.ingress,
  ]
}

# --- TLS: a certificate of its own, so that the API's stays as it is ----------------------------------------------------

resource "aws_acm_certificate" "jobs" {
  count = local.has_jobs_own_tls ? 1 : 0

  domain_name       = "*.${var.jobs_domain}"
  validation_method = "DNS"

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_route53_record" "jobs_certificate" {
  count = local.has_jobs_own_tls ? 1 : 0

  zone_id         = data.aws_route53_zone.jobs[0].zone_id
  name            = one(aws_acm_certificate.jobs[0].domain_validation_options).resource_record_name
  type            = one(aws_acm_certificate.jobs[0].domain_validation_options).resource_record_type
  records         = [one(aws_acm_certificate.jobs[0].domain_validation_options).resource_record_value]
  ttl             = 60
  allow_overwrite = true
}

resource "aws_acm_certificate_validation" "jobs" {
  count = local.has_jobs_own_tls ? 1 : 0

  certificate_arn         = aws_acm_certificate.jobs[0].arn
  validation_record_fqdns = [aws_route53_record.jobs_certificate[0].fqdn]

  timeouts {
    create = "20m"
  }
}

resource "aws_lb_listener_certificate" "jobs" {
  count = local.has_jobs_own_tls ? 1 : 0

  listener_arn    = aws_lb_listener.https[0].arn
  certificate_arn = aws_acm_certificate_validation.jobs[0].certificate_arn

  lifecycle {
    create_before_destroy = true
  }
}

# --- Who gets in --------------------------------------------------------------------------------------------------------

# Beside the group of the API's door, in which EC2 would refuse a network that moves from one list to the other, as one that
# is there already.
resource "aws_security_group" "job_callers" {
  count = length(local.job_callers) > 0 ? 1 : 0

  name_prefix = "${var.name}-ingress-"
  description = "Callers of jobs who may not call the API: nginx refuses them there"
  vpc_id      = data.aws_vpc.this.id
  tags        = { Name = "${var.name}-ingress" }

  lifecycle {
    create_before_destroy = true
  }
}

# Behind a load balancer the old instance serves until the new one does, and its nginx may not know yet whom to refuse.
resource "aws_vpc_security_group_ingress_rule" "job_callers" {
  for_each = local.job_callers

  security_group_id = aws_security_group.job_callers[0].id
  description       = "Callers of jobs"
  ip_protocol       = "tcp"
  from_port         = local.door_port
  to_port           = local.door_port
  cidr_ipv4         = each.value

  lifecycle {
    create_before_destroy = true
  }

  depends_on = [terraform_data.serving]
}

# Containers of jobs in those groups, when they call other jobs. Those in the jobs' own group come by the rule «agents»
# (network.tf). Not before nginx knows that they may not call the API.
resource "aws_vpc_security_group_ingress_rule" "calls_of_other_groups" {
  for_each = local.has_addresses ? toset(var.job_security_group_ids) : toset([])

  security_group_id            = aws_security_group.api.id
  description                  = "Calls between jobs"
  ip_protocol                  = "tcp"
  from_port                    = 80
  to_port                      = 80
  referenced_security_group_id = each.value

  lifecycle {
    create_before_destroy = true
  }

  depends_on = [terraform_data.serving]
}

# A job publishes its ports on any of its instance's. Groups of the operator's own (job_security_group_ids) are theirs to open.
resource "aws_vpc_security_group_ingress_rule" "nginx" {
  count = local.has_addresses ? 1 : 0

  security_group_id            = aws_security_group.jobs.id
  description                  = "nginx of the API, for callers of jobs"
  ip_protocol                  = "tcp"
  from_port                    = 1
  to_port                      = 65535
  referenced_security_group_id = aws_security_group.api.id
}
