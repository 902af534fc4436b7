output "instance_id" {
  description = "The API's instance."
  value       = aws_instance.api.id
}

output "public_ip" {
  description = "Its public address: an Elastic IP, which its successors have as well, or with elastic_ip = false another one after each replacement."
  value       = local.public_ip
}

output "private_ip" {
  description = "Its private address."
  value       = aws_instance.api.private_ip
}

output "url" {
  description = "Where users call the API."
  value       = local.url
}

output "jobs_url" {
  description = "Below its domain every job has a URL of its own; null where they have none."
  value       = local.jobs_url
}

output "jobs_private_url" {
  description = "Below its domain jobs call each other, within the VPC; null where jobs have no URLs."
  value       = local.jobs_private_url
}

output "allowed_cidrs" {
  description = "Who may call it: `up` keeps what was chosen."
  value       = sort(values(aws_vpc_security_group_ingress_rule.users)[*].cidr_ipv4)
}

output "agent_url" {
  description = "Where agents call it (AGENT_URL)."
  value       = local.agent_url
}

output "alb_dns_name" {
  description = "What domain_name and *.<jobs_domain> must point at, if dns_zone_id is not set."
  value       = one(aws_lb.this[*].dns_name)
}

output "jobs_dns_name" {
  description = "With ingress_count: what *.<jobs_domain> must point at, if its record is not made here."
  value       = one(aws_lb.ingress[*].dns_name)
}

output "ingress_security_group_id" {
  description = "With ingress_count: where callers of jobs come from, beside api_security_group_id: what groups of your own that jobs name must let in, too."
  value       = one(aws_security_group.ingress[*].id)
}

output "data_volume_id" {
  description = "The volume with Postgres's data: take snapshots of it."
  value       = one(aws_ebs_volume.data[*].id)
}

output "job_security_group_id" {
  description = "What jobs may name in instance.securityGroupIds."
  value       = aws_security_group.jobs.id
}

output "api_security_group_id" {
  description = "Where nginx comes from, for callers of jobs: what groups of your own that jobs name must let in."
  value       = aws_security_group.api.id
}

output "job_profiles" {
  description = "What jobs may name in instance.profile."
  value       = keys(local.job_profile_arns)
}

output "policy" {
  description = "What the API's role must be allowed, where it is made elsewhere."
  value       = module.policy.json
}
