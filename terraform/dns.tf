# The name agents call. They resolve it at every poll, so it may move to another instance at any time.

locals {
  private_zone_name = var.private_zone_name != null ? var.private_zone_name : "${var.name}.internal"
  private_record    = local.has_alb ? null : { zone_id = aws_route53_zone.private[0].zone_id, name = "api.${local.private_zone_name}" }
}

resource "aws_route53_zone" "private" {
  count = local.has_alb ? 0 : 1

  name    = local.private_zone_name
  comment = "Where agents find the Scheduler API ${var.name}"

  vpc {
    vpc_id = data.aws_vpc.this.id
  }
}

# The new instance sets it itself the moment it takes over; this makes it true also where its role may not.
resource "aws_route53_record" "api" {
  count = local.has_alb ? 0 : 1

  zone_id         = aws_route53_zone.private[0].zone_id
  name            = local.private_record.name
  type            = "A"
  ttl             = 5
  records         = [aws_instance.api.private_ip]
  allow_overwrite = true

  depends_on = [terraform_data.serving]
}
