# terraform init -backend=false && terraform test
# Needs Terraform 1.11 and the provider's binary, but neither account nor network: AWS is mocked.

mock_provider "aws" {
  # Plans only: the data volume's prevent_destroy would keep a test from cleaning up after an apply.
  override_during = plan
  source          = "./tests/aws"
}

variables {
  bucket        = "state-bucket"
  bundle_key    = "bundles/0123456.tar.gz"
  allowed_cidrs = ["203.0.113.7/32"]
  # The wait calls a real S3.
  wait_seconds = 0
}

run "default" {
  command = plan

  assert {
    condition     = aws_instance.api.metadata_options[0].http_tokens == "required" && aws_instance.api.root_block_device[0].encrypted
    error_message = "IMDSv2 and encrypted disks"
  }
  assert {
    condition     = aws_instance.api.user_data_replace_on_change && length(aws_instance.api.user_data_base64) < 16384 * 4 / 3
    error_message = "user data replaces the instance, and EC2 takes it"
  }
  assert {
    condition     = aws_ebs_volume.data[0].encrypted && aws_ebs_volume.data[0].availability_zone == data.aws_subnet.api.availability_zone
    error_message = "the data volume is encrypted and in the instance's zone"
  }
  assert {
    condition     = { for key, rule in aws_vpc_security_group_ingress_rule.users : key => "${rule.from_port} ${rule.cidr_ipv4}" } == { "203.0.113.7/32" = "80 203.0.113.7/32" }
    error_message = "port 80 is open to allowed_cidrs"
  }
  assert {
    condition     = aws_vpc_security_group_ingress_rule.agents_tls.from_port == 8443 && aws_vpc_security_group_ingress_rule.agents_tls.cidr_ipv4 == null
    error_message = "agents get through"
  }
  assert {
    condition     = aws_route53_record.api.name == "api.scheduler.internal" && one(aws_route53_record.api.records) == "172.31.0.10" && output.agent_url == "https://api.scheduler.internal:8443"
    error_message = "agents call a private name, by TLS"
  }
  assert {
    condition     = output.instance_id == "i-0aaaaaaaaaaaaaaaa" && output.public_ip == "203.0.113.20" && output.url == "http://203.0.113.20"
    error_message = "outputs: the address is the one that outlives the instance"
  }
  assert {
    condition     = strcontains(module.user_data.text, "ALLOWED_SUBNETS=subnet-0aaaaaaaaaaaaaaaa,subnet-0bbbbbbbbbbbbbbbb\n") && strcontains(module.user_data.text, "ALLOWED_PROFILES=scheduler-job\n")
    error_message = "the API knows what jobs may name"
  }
  assert {
    condition     = strcontains(output.policy, "ssm:UpdateInstanceInformation") && length(aws_iam_role_policy_attachment.ssm) == 0 && strcontains(module.user_data.text, "SSM_AGENT_URL='https://s3.us-west-2.amazonaws.com/amazon-ssm-us-west-2/latest'\n")
    error_message = "operators get in by SSM"
  }
  assert {
    condition     = length(aws_db_instance.this) + length(aws_lb.this) == 0
    error_message = "neither RDS nor ALB unless asked for"
  }
}

run "own_amis" {
  command = plan

  variables {
    job_amis       = ["ami-0aaaaaaaaaaaaaaaa"]
    job_ami_owners = ["111122223333"]
  }

  assert {
    condition     = strcontains(module.user_data.text, "ALLOWED_AMIS=ecs-al2023,ecs-al2023-arm64,ami-0aaaaaaaaaaaaaaaa\n")
    error_message = "jobs may name them"
  }
  assert {
    condition     = [for s in jsondecode(output.policy).Statement : s.Condition.StringEquals["ec2:Owner"] if s.Sid == "LaunchImages"][0] == ["amazon", "111122223333"]
    error_message = "the API may launch them"
  }
}

run "alb" {
  command = plan

  variables {
    certificate_arn = "arn:aws:acm:us-west-2:123456789012:certificate/a"
    domain_name     = "scheduler.example.com"
  }

  assert {
    condition     = output.url == "https://scheduler.example.com" && output.agent_url == "https://api.scheduler.internal:8443" && aws_lb.this[0].internal
    error_message = "users use https, and agents go on using their own name"
  }
  assert {
    condition     = alltrue([for rule in aws_vpc_security_group_ingress_rule.users : rule.from_port == 443]) && aws_vpc_security_group_ingress_rule.alb[0].to_port == 81 && aws_vpc_security_group_egress_rule.alb[0].to_port == 81 && aws_lb_target_group_attachment.api[0].port == 81 && strcontains(module.user_data.text, "\nBALANCER_PORT='81'\n") && strcontains(module.user_data.text, "TRUSTED_PROXY=100.64.0.0/16,172.31.0.0/16")
    error_message = "the door is the load balancer's"
  }
}

run "domain" {
  command = plan

  variables {
    api_domain = "scheduler.example.com"
  }

  assert {
    condition     = output.url == "https://scheduler.example.com" && !aws_lb.this[0].internal && data.aws_route53_zone.public[0].name == "example.com"
    error_message = "a name of the account's zone is all it takes"
  }
  assert {
    condition     = aws_route53_record.certificate[0].name == "_a.example.com" && aws_route53_record.alb[0].name == "scheduler.example.com"
    error_message = "its records are made"
  }
}

run "a_domain_or_a_certificate" {
  command = plan

  variables {
    api_domain      = "scheduler.example.com"
    certificate_arn = "arn:aws:acm:us-west-2:123456789012:certificate/a"
    domain_name     = "scheduler.example.com"
  }

  expect_failures = [var.api_domain]
}

run "without_an_elastic_ip" {
  command = plan

  variables {
    elastic_ip = false
  }

  assert {
    condition     = length(aws_eip.api) == 0 && output.url == "http://203.0.113.10" && strcontains(module.user_data.text, "PUBLIC_URL=http://api.scheduler.internal'")
    error_message = "the address is the instance's own"
  }
}

run "a_zone_without_the_type" {
  command = plan

  override_data {
    target = data.aws_ec2_instance_type_offerings.api
    values = { locations = ["us-west-2d"] }
  }

  expect_failures = [data.aws_subnet.api]
}

run "a_vpc_without_names" {
  command = plan

  override_data {
    target = data.aws_vpc.this
    values = { id = "vpc-0aaaaaaaaaaaaaaaa", cidr_block = "172.31.0.0/16", enable_dns_support = true, enable_dns_hostnames = false }
  }

  expect_failures = [data.aws_vpc.this]
}

run "own_groups" {
  command = plan

  variables {
    job_security_group_ids = ["sg-0123456789abcdef0"]
  }

  assert {
    condition     = strcontains(module.user_data.text, "ALLOWED_SECURITY_GROUPS=sg-0aaaaaaaaaaaaaaaa,sg-0123456789abcdef0\n")
    error_message = "jobs may name them"
  }
  assert {
    condition     = contains([for s in jsondecode(output.policy).Statement : s.Resource if s.Sid == "LaunchWith"][0], "arn:aws:ec2:us-west-2:123456789012:security-group/sg-0123456789abcdef0") && aws_vpc_security_group_ingress_rule.agents_of_other_groups["sg-0123456789abcdef0"].from_port == 8443
    error_message = "the API may launch with them, and their agents get through"
  }
}

run "what_the_stack_decides_is_no_setting" {
  command = plan

  variables {
    settings = { ALLOWED_SUBNETS = "subnet-0123456789abcdef0" }
  }

  expect_failures = [var.settings]
}

run "a_name_that_aws_keeps" {
  command = plan

  variables {
    name = "internal"
  }

  expect_failures = [var.name]
}

run "rds" {
  command = plan

  variables {
    database     = "rds"
    rds_username = "scheduler"
    rds_password = "not-a-real-one"
    name         = "other"
  }

  assert {
    condition     = aws_db_instance.this[0].storage_encrypted && !aws_db_instance.this[0].publicly_accessible && aws_db_instance.this[0].deletion_protection
    error_message = "a private, encrypted database that does not go by accident"
  }
  assert {
    condition     = strcontains(module.user_data.text, "POSTGRES_HOST=db.example.com") && !strcontains(module.user_data.text, "not-a-real-one")
    error_message = "the instance knows the host, its user data not the password"
  }
}

run "rds_after_a_volume" {
  command = plan

  variables {
    database         = "rds"
    rds_username     = "scheduler"
    rds_password     = "not-a-real-one"
    keep_data_volume = true
  }

  assert {
    condition     = length(aws_ebs_volume.data) == 1 && strcontains(module.user_data.text, "DATA_VOLUME_ID=''\n") && !strcontains(output.policy, "MoveTheDataVolume")
    error_message = "the volume stays, and no instance takes it"
  }
}

run "managed_policies" {
  command = plan

  variables {
    iam = "managed"
  }

  assert {
    condition     = aws_iam_role_policy_attachment.ssm[0].policy_arn == "arn:aws:iam::aws:policy/AmazonSSMManagedEC2InstanceDefaultPolicy"
    error_message = "the SSM agent may work here, too"
  }
  assert {
    condition     = length(aws_iam_role_policy.api) == 0 && length(aws_iam_role_policy_attachment.api) == 3 && length(aws_iam_role.job) == 0
    error_message = "no policy is made"
  }
}

run "existing_profile" {
  command = plan

  variables {
    iam                       = "existing"
    existing_instance_profile = "of-the-platform-team"
  }

  assert {
    condition     = length(aws_iam_role_policy_attachment.ssm) == 0 && strcontains(output.policy, "ssm:UpdateInstanceInformation") && strcontains(module.user_data.text, "SSM_AGENT_URL='https:")
    error_message = "the agent is installed, and the output says what it needs"
  }
  assert {
    condition     = length(aws_iam_role.api) + length(aws_iam_instance_profile.api) + length(aws_iam_role.job) == 0 && aws_instance.api.iam_instance_profile == "of-the-platform-team"
    error_message = "nothing is made in IAM"
  }
}

run "china" {
  command = plan

  variables {
    region = "cn-north-1"
    iam    = "managed"
  }

  override_data {
    target = data.aws_partition.current
    values = { partition = "aws-cn", dns_suffix = "amazonaws.com.cn" }
  }

  assert {
    condition     = aws_iam_role_policy_attachment.ssm[0].policy_arn == "arn:aws-cn:iam::aws:policy/AmazonSSMManagedEC2InstanceDefaultPolicy" && strcontains(module.user_data.text, "SSM_AGENT_URL='https://s3.cn-north-1.amazonaws.com.cn/amazon-ssm-cn-north-1/latest'\n")
    error_message = "the SSM agent is of the partition and the region"
  }
}

run "without_ssm" {
  command = plan

  variables {
    ssm = false
  }

  assert {
    condition     = !strcontains(output.policy, "ssm") && strcontains(module.user_data.text, "SSM_AGENT_URL=''\n")
    error_message = "no agent, no permissions for it"
  }
}

run "existing_profile_is_named" {
  command = plan

  variables {
    iam = "existing"
  }

  expect_failures = [var.existing_instance_profile]
}

run "no_secret_in_settings" {
  command = plan

  variables {
    settings = { ADMIN_TOKEN = "0123456789abcdef" }
  }

  expect_failures = [var.settings]
}

run "networks_are_networks" {
  command = plan

  variables {
    allowed_cidrs = ["everyone"]
  }

  expect_failures = [var.allowed_cidrs]
}
