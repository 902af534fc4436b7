# Names within the VPC, which lead to the instance that serves: the one agents call, with a load balancer or without, as no
# switch takes it away from agents that use it, and where jobs have addresses theirs for each other (addresses.tf). Agents
# resolve theirs at every poll, so it may move to another instance at any time.

locals {
  private_zone_name = var.private_zone_name != null ? var.private_zone_name : "${var.name}.internal"
  private_record = {
    zone_id = aws_route53_zone.private.zone_id
    name    = "api.${local.private_zone_name}"
    # Where there may be an ingress none of the API's instances knows where jobs call each other.
    jobs_name = local.has_addresses && !local.is_ready_for_ingress ? "*.${local.jobs_private_domain}" : null
  }
}

resource "aws_route53_zone" "private" {
  name    = local.private_zone_name
  comment = "Where agents find the Scheduler API ${var.name}"
  # An instance may have written its record before Terraform knew of it.
  force_destroy = true

  vpc {
    vpc_id = data.aws_vpc.this.id
  }
}

# The new instance sets both itself the moment it takes over; this makes them true also where its role may not.
resource "aws_route53_record" "api" {
  zone_id         = aws_route53_zone.private.zone_id
  name            = local.private_record.name
  type            = "A"
  ttl             = 5
  records         = [aws_instance.api.private_ip]
  allow_overwrite = true

  depends_on = [terraform_data.serving]
}

resource "aws_route53_record" "jobs_private" {
  count = local.has_addresses ? 1 : 0

  zone_id         = aws_route53_zone.private.zone_id
  name            = "*.${local.jobs_private_domain}"
  type            = "A"
  ttl             = 5
  records         = local.has_ingress ? local.ingress_private_ips : [aws_instance.api.private_ip]
  allow_overwrite = true

  depends_on = [
    terraform_data.serving,
    aws_vpc_security_group_ingress_rule.ingress_calls_between_jobs,
    aws_vpc_security_group_ingress_rule.ingress_calls_of_other_groups,
    aws_autoscaling_group.ingress,
  ]
}

# Until 0.1 there was neither with a load balancer.
moved {
  from = aws_route53_zone.private[0]
  to   = aws_route53_zone.private
}

moved {
  from = aws_route53_record.api[0]
  to   = aws_route53_record.api
}
