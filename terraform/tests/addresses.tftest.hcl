# Addresses of jobs: jobs_domain, jobs_wildcard_dns and ingress_cidrs.

mock_provider "aws" {
  # Plans only: the data volume's prevent_destroy would keep a test from cleaning up after an apply.
  override_during = plan
  source          = "./tests/aws"
}

variables {
  bucket        = "state-bucket"
  bundle_key    = "bundles/0123456.tar.gz"
  allowed_cidrs = ["203.0.113.7/32"]
  jobs_domain   = "jobs.example.com"
  # The wait calls a real S3.
  wait_seconds = 0
}

run "names_made_of_the_address_by_default" {
  command = plan

  variables {
    jobs_domain = null
  }

  assert {
    condition     = strcontains(module.user_data.text, "JOBS_URL=http://203-0-113-20.sslip.io\n") && output.jobs_url == "http://203-0-113-20.sslip.io"
    error_message = "jobs are below a name that others lead to the Elastic IP"
  }
  assert {
    condition     = length(aws_route53_record.jobs) + length(data.aws_route53_zone.jobs) + length(aws_acm_certificate.jobs) == 0
    error_message = "the name is nobody's of this account"
  }
  assert {
    condition     = keys(aws_vpc_security_group_ingress_rule.users) == ["203.0.113.7/32"] && length(aws_vpc_security_group_ingress_rule.job_callers) == 0 && !strcontains(module.user_data.text, "_CIDRS=")
    error_message = "as closed as the API, by the security group alone: another list is no other instance"
  }
  assert {
    condition     = length(aws_vpc_security_group_ingress_rule.nginx) == 1 && aws_route53_record.jobs_private[0].name == "*.jobs.scheduler.internal" && output.jobs_private_url == "http://jobs.scheduler.internal"
    error_message = "nginx reaches jobs, and jobs each other within the VPC"
  }
}

run "public_jobs_at_such_names" {
  command = plan

  variables {
    jobs_domain       = null
    jobs_wildcard_dns = "nip.io"
    ingress_cidrs     = ["0.0.0.0/0"]
  }

  assert {
    condition     = output.jobs_url == "http://203-0-113-20.nip.io" && keys(aws_vpc_security_group_ingress_rule.job_callers) == ["0.0.0.0/0"]
    error_message = "another service, and others may call jobs"
  }
}

run "no_names_of_others" {
  command = plan

  variables {
    jobs_domain       = null
    jobs_wildcard_dns = null
  }

  assert {
    condition     = !strcontains(module.user_data.text, "JOBS_URL") && output.jobs_url == null && length(aws_route53_record.jobs) + length(aws_vpc_security_group_ingress_rule.nginx) == 0
    error_message = "nothing is made, and nothing reaches jobs"
  }
  assert {
    condition     = !strcontains(module.user_data.text, "JOBS_PRIVATE_URL") && output.jobs_private_url == null && !strcontains(module.user_data.text, "_CIDRS=") && length(aws_route53_record.jobs_private) == 0 && strcontains(module.user_data.text, "\nJOBS_RECORD_NAME=''\n")
    error_message = "jobs have no names for each other either"
  }
  assert {
    condition     = [for s in jsondecode(output.policy).Statement : s.Condition["ForAllValues:StringEquals"]["route53:ChangeResourceRecordSetsNormalizedRecordNames"] if s.Sid == "PointTheNameHere"][0] == ["api.scheduler.internal"]
    error_message = "its instance sets its own name alone"
  }
}

run "no_names_of_others_where_an_environment_says_so" {
  command = plan

  variables {
    jobs_domain       = null
    jobs_wildcard_dns = ""
  }

  assert {
    condition     = output.jobs_url == null && !strcontains(module.user_data.text, "JOBS_URL")
    error_message = "TF_VAR_jobs_wildcard_dns= switches it off"
  }
}

run "no_names_of_an_address_that_changes" {
  command = plan

  variables {
    jobs_domain = null
    elastic_ip  = false
  }

  assert {
    condition     = output.jobs_url == null && output.jobs_private_url == null
    error_message = "the instance's user data cannot hold it"
  }
}

run "no_names_of_an_address_behind_a_load_balancer" {
  command = plan

  variables {
    jobs_domain = null
    api_domain  = "scheduler.example.com"
  }

  assert {
    condition     = output.jobs_url == null && output.jobs_private_url == null && !strcontains(module.user_data.text, "_CIDRS=")
    error_message = "it would need a certificate for them"
  }
}

run "a_service_of_names_is_a_name" {
  command = plan

  variables {
    jobs_domain       = null
    jobs_wildcard_dns = "https://sslip.io"
  }

  expect_failures = [var.jobs_wildcard_dns]
}

run "a_domain" {
  command = plan

  assert {
    condition     = strcontains(module.user_data.text, "JOBS_URL=http://jobs.example.com\n") && output.jobs_url == "http://jobs.example.com"
    error_message = "the API knows it, with plain http as for itself"
  }
  assert {
    condition     = aws_route53_record.jobs[0].name == "*.jobs.example.com" && one(aws_route53_record.jobs[0].records) == "203.0.113.20" && data.aws_route53_zone.jobs[0].name == "example.com"
    error_message = "its names lead to the address that outlives the instance"
  }
  assert {
    condition     = aws_vpc_security_group_ingress_rule.nginx[0].security_group_id == aws_security_group.jobs.id && aws_vpc_security_group_ingress_rule.nginx[0].referenced_security_group_id == aws_security_group.api.id && aws_vpc_security_group_ingress_rule.nginx[0].cidr_ipv4 == null && "${aws_vpc_security_group_ingress_rule.nginx[0].from_port}-${aws_vpc_security_group_ingress_rule.nginx[0].to_port}" == "1-65535"
    error_message = "the API's instance, and no other, reaches what jobs publish"
  }
  assert {
    condition     = length(aws_security_group.job_callers) == 0 && keys(aws_vpc_security_group_ingress_rule.users) == ["203.0.113.7/32"]
    error_message = "as closed as the API"
  }
  assert {
    condition     = !strcontains(module.user_data.text, "_CIDRS=")
    error_message = "by the security group alone: another list is no other instance"
  }
  assert {
    condition     = strcontains(module.user_data.text, "JOBS_PRIVATE_URL=http://jobs.scheduler.internal\n") && output.jobs_private_url == "http://jobs.scheduler.internal" && strcontains(module.user_data.text, "\nJOBS_RECORD_NAME='*.jobs.scheduler.internal'\n")
    error_message = "jobs call each other within the VPC, at names that the instance which serves points at itself"
  }
  assert {
    condition     = aws_route53_record.jobs_private[0].name == "*.jobs.scheduler.internal" && aws_route53_record.jobs_private[0].zone_id == aws_route53_record.api.zone_id && one(aws_route53_record.jobs_private[0].records) == "172.31.0.10" && aws_route53_record.jobs_private[0].ttl == aws_route53_record.api.ttl
    error_message = "these names lead to its private address, as its own does"
  }
  assert {
    condition     = [for s in jsondecode(output.policy).Statement : s.Condition["ForAllValues:StringEquals"]["route53:ChangeResourceRecordSetsNormalizedRecordNames"] if s.Sid == "PointTheNameHere"][0] == ["api.scheduler.internal", "\\052.jobs.scheduler.internal"]
    error_message = "its role may set both"
  }
  assert {
    condition     = aws_vpc_security_group_ingress_rule.agents.from_port == 80 && aws_vpc_security_group_ingress_rule.agents.referenced_security_group_id == aws_security_group.jobs.id && length(aws_vpc_security_group_ingress_rule.calls_of_other_groups) == 0
    error_message = "containers of jobs reach nginx there"
  }
  assert {
    condition     = length(aws_acm_certificate.jobs) == 0
    error_message = "no certificate without a load balancer"
  }
}

run "the_same_callers_in_another_order" {
  command = plan

  variables {
    allowed_cidrs = ["203.0.113.7/32", "198.51.100.0/24"]
    ingress_cidrs = ["198.51.100.0/24", "203.0.113.7/32"]
  }

  assert {
    condition     = length(aws_security_group.job_callers) == 0 && !strcontains(module.user_data.text, "_CIDRS=")
    error_message = "there is one door, and nginx need not refuse anyone"
  }
}

run "jobs_in_groups_of_ones_own" {
  command = plan

  variables {
    job_security_group_ids = ["sg-0123456789abcdef0"]
  }

  assert {
    condition     = { for group, rule in aws_vpc_security_group_ingress_rule.calls_of_other_groups : group => "${rule.security_group_id} ${rule.from_port}-${rule.to_port} ${rule.referenced_security_group_id}" } == { "sg-0123456789abcdef0" = "${aws_security_group.api.id} 80-80 sg-0123456789abcdef0" }
    error_message = "their containers may call other jobs, too"
  }
  assert {
    condition     = strcontains(module.user_data.text, "\nALLOWED_CIDRS=203.0.113.7/32\n") && strcontains(module.user_data.text, "\nINGRESS_CIDRS=203.0.113.7/32,100.64.0.0/16,172.31.0.0/16'\n")
    error_message = "and not the API: nginx lets callers of the VPC reach jobs alone, by each network that it has now"
  }
}

run "a_private_zone_as_people_write_it" {
  command = plan

  variables {
    private_zone_name = "Main.Internal."
  }

  assert {
    condition     = strcontains(module.user_data.text, "JOBS_PRIVATE_URL=http://jobs.main.internal\n") && aws_route53_record.jobs_private[0].name == "*.jobs.main.internal"
    error_message = "the API takes names in lower case, without a dot at the end"
  }
}

run "public_jobs" {
  command = plan

  variables {
    ingress_cidrs = ["0.0.0.0/0", "203.0.113.7/32"]
  }

  override_resource {
    target          = aws_security_group.job_callers
    values          = { id = "sg-0eeeeeeeeeeeeeeee" }
    override_during = plan
  }

  assert {
    condition     = strcontains(module.user_data.text, "\nALLOWED_CIDRS=203.0.113.7/32\n") && strcontains(module.user_data.text, "\nINGRESS_CIDRS=0.0.0.0/0,203.0.113.7/32,100.64.0.0/16,172.31.0.0/16'\n")
    error_message = "nginx knows whom to refuse"
  }
  assert {
    condition     = { for key, rule in aws_vpc_security_group_ingress_rule.job_callers : key => rule.from_port } == { "0.0.0.0/0" = 80 } && keys(aws_vpc_security_group_ingress_rule.users) == ["203.0.113.7/32"]
    error_message = "the security groups admit both lists, each network once"
  }
  assert {
    condition     = contains(aws_instance.api.vpc_security_group_ids, "sg-0eeeeeeeeeeeeeeee")
    error_message = "the instance has both doors"
  }
  assert {
    condition     = output.allowed_cidrs == tolist(["203.0.113.7/32"])
    error_message = "`up` keeps who may call the API, not who may call jobs"
  }
}

run "with_tls" {
  command = plan

  variables {
    api_domain    = "scheduler.example.com"
    ingress_cidrs = ["0.0.0.0/0"]
  }

  override_resource {
    target          = aws_security_group.job_callers
    values          = { id = "sg-0eeeeeeeeeeeeeeee" }
    override_during = plan
  }

  assert {
    condition     = strcontains(module.user_data.text, "JOBS_URL=https://jobs.example.com\n") && strcontains(module.user_data.text, "JOBS_PRIVATE_URL=http://jobs.scheduler.internal\n")
    error_message = "https, as for the API; and http where no load balancer is between"
  }
  assert {
    condition     = aws_acm_certificate.jobs[0].domain_name == "*.jobs.example.com" && aws_acm_certificate.api[0].domain_name == "scheduler.example.com" && aws_lb_listener_certificate.jobs[0].certificate_arn == aws_acm_certificate_validation.jobs[0].certificate_arn
    error_message = "the listener has a certificate for the jobs' names beside the API's"
  }
  assert {
    condition     = aws_route53_record.jobs_certificate[0].zone_id == "Z0PUBLIC" && aws_route53_record.jobs[0].alias[0].name == "alb.example.com" && aws_route53_record.jobs[0].records == null
    error_message = "its records are made, and the names lead to the load balancer"
  }
  assert {
    condition     = [for rule in aws_vpc_security_group_ingress_rule.job_callers : rule.from_port] == [443] && contains(aws_lb.this[0].security_groups, "sg-0eeeeeeeeeeeeeeee") && !contains(aws_instance.api.vpc_security_group_ids, "sg-0eeeeeeeeeeeeeeee")
    error_message = "both doors are the load balancer's"
  }
}

run "with_a_certificate_of_ones_own" {
  command = plan

  variables {
    certificate_arn = "arn:aws:acm:us-west-2:123456789012:certificate/a"
    domain_name     = "scheduler.example.com"
  }

  assert {
    condition     = strcontains(module.user_data.text, "JOBS_URL=https://jobs.example.com\n") && length(aws_acm_certificate.jobs) + length(aws_route53_record.jobs) == 0
    error_message = "certificate and names are the operator's to make"
  }
}

run "with_a_certificate_and_a_zone" {
  command = plan

  variables {
    certificate_arn = "arn:aws:acm:us-west-2:123456789012:certificate/a"
    domain_name     = "scheduler.example.com"
    dns_zone_id     = "Z0OWN"
  }

  assert {
    condition     = aws_route53_record.jobs[0].zone_id == "Z0OWN" && length(aws_acm_certificate.jobs) == 0
    error_message = "the names are in that zone"
  }
}

run "without_a_public_address" {
  command = plan

  variables {
    public_ip = false
  }

  assert {
    condition     = one(aws_route53_record.jobs[0].records) == "172.31.0.10"
    error_message = "the names lead to the private one"
  }
}

run "a_domain_outside_the_zone" {
  command = plan

  variables {
    dns_zone_id = "Z0OWN"
    jobs_domain = "jobs.example.net"
  }

  expect_failures = [data.aws_route53_zone.jobs]
}

run "a_domain_of_ones_own" {
  command = plan

  variables {
    dns_zone_id = "Z0OWN"
    jobs_domain = "example.com"
  }

  assert {
    condition     = aws_route53_record.jobs[0].name == "*.example.com"
    error_message = "the whole zone may be the jobs'"
  }
}

run "not_the_apis_own_name" {
  command = plan

  variables {
    api_domain  = "scheduler.example.com"
    jobs_domain = "scheduler.example.com"
  }

  expect_failures = [var.jobs_domain]
}

run "not_a_domain_that_the_api_is_in" {
  command = plan

  variables {
    certificate_arn = "arn:aws:acm:us-west-2:123456789012:certificate/a"
    domain_name     = "a.scheduler.example.com"
    jobs_domain     = "example.com"
  }

  expect_failures = [var.jobs_domain]
}

run "not_a_domain_that_agents_call" {
  command = plan

  variables {
    jobs_domain = "scheduler.internal"
  }

  expect_failures = [var.jobs_domain]
}

run "not_below_the_names_that_jobs_call_each_other_by" {
  command = plan

  variables {
    private_zone_name = "example.com"
    jobs_domain       = "a.jobs.example.com"
  }

  expect_failures = [var.jobs_domain]
}

run "an_api_below_the_names_that_jobs_call_each_other_by" {
  command = plan

  variables {
    private_zone_name = "example.com"
    api_domain        = "scheduler.jobs.example.com"
    jobs_domain       = "apps.example.com"
  }

  expect_failures = [var.jobs_domain]
}

run "below_the_apis_name" {
  command = plan

  variables {
    api_domain  = "scheduler.example.com"
    dns_zone_id = "Z0OWN"
    jobs_domain = "jobs.scheduler.example.com"
  }

  assert {
    condition     = aws_route53_record.jobs[0].name == "*.jobs.scheduler.example.com"
    error_message = "no job can have the API's name there"
  }
}

run "a_domain_is_a_name" {
  command = plan

  variables {
    jobs_domain = "https://jobs.example.com"
  }

  expect_failures = [var.jobs_domain]
}

run "callers_are_networks" {
  command = plan

  variables {
    ingress_cidrs = []
  }

  expect_failures = [var.ingress_cidrs]
}

run "callers_of_nothing" {
  command = plan

  variables {
    jobs_domain       = null
    jobs_wildcard_dns = null
    ingress_cidrs     = ["0.0.0.0/0"]
  }

  expect_failures = [var.ingress_cidrs]
}

run "callers_are_no_setting" {
  command = plan

  variables {
    settings = { INGRESS_CIDRS = "0.0.0.0/0" }
  }

  expect_failures = [var.settings]
}
