# ingress_count: jobs are served by instances of their own. Where jobs call each other is not tested here: the load balancer's
# private addresses are read once it is there, which no plan knows.

mock_provider "aws" {
  override_during = plan
  source          = "./tests/aws"
}

variables {
  bucket        = "state-bucket"
  bundle_key    = "bundles/0123456.tar.gz"
  allowed_cidrs = ["203.0.113.7/32"]
  jobs_domain   = "jobs.example.com"
  ingress_count = 2
  # The wait calls a real S3.
  wait_seconds = 0
}

override_resource {
  target          = aws_lb.ingress
  values          = { arn = "arn:aws:elasticloadbalancing:us-west-2:123456789012:loadbalancer/net/a/b", arn_suffix = "net/scheduler-jobs/0a", dns_name = "nlb.example.com", zone_id = "Z0NLB" }
  override_during = plan
}
override_resource {
  target          = aws_security_group.ingress_lb
  values          = { id = "sg-0111111111111111a" }
  override_during = plan
}
override_resource {
  target          = aws_security_group.ingress
  values          = { id = "sg-0222222222222222a" }
  override_during = plan
}

run "none_by_default" {
  command = plan

  variables {
    ingress_count = null
  }

  assert {
    condition     = length(aws_lb.ingress) + length(aws_autoscaling_group.ingress) + length(aws_security_group.ingress) + length(aws_vpc_security_group_ingress_rule.lookups) + length(data.aws_network_interface.ingress) == 0
    error_message = "nginx on the API's instance serves jobs"
  }
  assert {
    condition     = !strcontains(module.user_data.text, "ADDRESS_STALE_SECONDS") && strcontains(module.user_data.text, "\nLOOKUP_PORT=''\n")
    error_message = "its instance is as before"
  }
}

run "prepared" {
  command = plan

  variables {
    ingress_count = 0
  }

  assert {
    condition     = length(aws_lb.ingress) + length(aws_autoscaling_group.ingress) + length(aws_vpc_security_group_ingress_rule.lookups) == 0 && aws_route53_record.jobs_private[0].records == toset([aws_instance.api.private_ip])
    error_message = "nginx on the API's instance serves jobs"
  }
  assert {
    condition     = strcontains(module.user_data.text, "\nLOOKUP_PORT='8081'\n") && strcontains(module.user_data.text, "ADDRESS_STALE_SECONDS=60") && strcontains(module.user_data.text, "\nJOBS_RECORD_NAME=''\n")
    error_message = "its instance is the one that an ingress needs"
  }
}

run "two" {
  command = plan

  assert {
    condition     = aws_autoscaling_group.ingress[0].min_size == 2 && aws_autoscaling_group.ingress[0].desired_capacity == 2 && aws_autoscaling_group.ingress[0].max_size == 2 && aws_autoscaling_group.ingress[0].instance_refresh[0].preferences[0].min_healthy_percentage == 100
    error_message = "two, and two while they are replaced"
  }
  assert {
    condition     = aws_route53_record.jobs[0].alias[0].name == "nlb.example.com" && aws_route53_record.jobs[0].records == null
    error_message = "the names lead to the load balancer"
  }
  assert {
    condition     = strcontains(module.user_data.text, "\nJOBS_RECORD_NAME=''\n") && [for s in jsondecode(output.policy).Statement : s.Condition["ForAllValues:StringEquals"]["route53:ChangeResourceRecordSetsNormalizedRecordNames"] if s.Sid == "PointTheNameHere"][0] == ["api.scheduler.internal"]
    error_message = "no instance of the API sets that name"
  }
  assert {
    condition     = strcontains(module.user_data.text, "\nLOOKUP_PORT='8081'\n") && strcontains(module.user_data.text, "ADDRESS_STALE_SECONDS=60")
    error_message = "nginx of the API answers lookups, and answers outlast a hand-over"
  }
  assert {
    condition     = aws_vpc_security_group_ingress_rule.lookups[0].security_group_id == aws_security_group.api.id && aws_vpc_security_group_ingress_rule.lookups[0].referenced_security_group_id == "sg-0222222222222222a" && aws_vpc_security_group_ingress_rule.lookups[0].cidr_ipv4 == null && aws_vpc_security_group_ingress_rule.lookups[0].from_port == 8081 && aws_vpc_security_group_ingress_rule.lookups[0].to_port == 8081
    error_message = "lookups are for the ingress alone"
  }
  assert {
    condition     = { for cidr, rule in aws_vpc_security_group_ingress_rule.ingress_callers : cidr => rule.from_port } == { "203.0.113.7/32 80" = 80 } && aws_vpc_security_group_ingress_rule.ingress_calls_between_jobs[0].referenced_security_group_id == aws_security_group.jobs.id && keys(aws_vpc_security_group_ingress_rule.ingress) == ["http"]
    error_message = "as closed as before"
  }
  assert {
    condition     = aws_lb.ingress[0].load_balancer_type == "network" && !aws_lb.ingress[0].internal && aws_lb_target_group.ingress["http"].preserve_client_ip == "true" && length(aws_lb_listener.ingress_tls) == 0
    error_message = "nginx sees the callers' own addresses"
  }
  assert {
    condition     = strcontains(module.ingress_user_data[0].text, "\nSCHEDULER_HOST=api.scheduler.internal\n") && strcontains(module.ingress_user_data[0].text, "INGRESS_CIDRS=203.0.113.7/32,100.64.0.0/16,172.31.0.0/16") && !strcontains(module.ingress_user_data[0].text, "state-bucket")
    error_message = "it knows where the API is and who may call, and nothing of the bucket"
  }
  assert {
    condition     = aws_launch_template.ingress[0].instance_type == "t3.micro" && length(aws_launch_template.ingress[0].iam_instance_profile) == 0
    error_message = "small, and without a role"
  }
}

run "one_on_arm" {
  command = plan

  variables {
    ingress_count = 1
    architecture  = "arm64"
    instance_type = "t4g.small"
  }

  assert {
    condition     = aws_launch_template.ingress[0].instance_type == "t4g.micro" && aws_autoscaling_group.ingress[0].instance_refresh[0].preferences[0].max_healthy_percentage == 200
    error_message = "the next one is there before the one is taken away"
  }
}

run "with_tls" {
  command = plan

  variables {
    api_domain = "scheduler.example.com"
  }

  assert {
    condition     = aws_lb_listener.ingress_tls[0].certificate_arn == aws_acm_certificate_validation.jobs[0].certificate_arn && aws_lb_listener.ingress_tls[0].default_action[0].target_group_arn == aws_lb_target_group.ingress["tls"].arn && aws_lb_target_group.ingress["tls"].port == 81
    error_message = "TLS ends at the load balancer, which passes it on to a port of its own"
  }
  assert {
    condition     = { for cidr, rule in aws_vpc_security_group_ingress_rule.ingress_callers : cidr => rule.from_port } == { "203.0.113.7/32 443" = 443 } && aws_vpc_security_group_ingress_rule.ingress_calls_between_jobs[0].from_port == 80
    error_message = "callers by https, containers by http"
  }
  assert {
    condition     = aws_route53_record.jobs[0].alias[0].name == "nlb.example.com"
    error_message = "the names lead to the load balancer of jobs, not the API's"
  }
}

run "needs_a_domain" {
  command = plan

  variables {
    jobs_domain = null
  }

  expect_failures = [var.ingress_count]
}

run "not_three" {
  command = plan

  variables {
    ingress_count = 3
  }

  expect_failures = [var.ingress_count]
}
