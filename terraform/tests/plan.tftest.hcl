# terraform init -backend=false && terraform test
# Needs Terraform 1.11 and the provider's binary, but neither account nor network: AWS is mocked.

mock_provider "aws" {
  # Plans only: the data volume's prevent_destroy would keep a test from cleaning up after an apply.
  override_during = plan

  mock_data "aws_partition" {
    defaults = { partition = "aws" }
  }
  mock_data "aws_caller_identity" {
    defaults = { account_id = "123456789012" }
  }
  mock_data "aws_vpc" {
    defaults = { id = "vpc-0aaaaaaaaaaaaaaaa", cidr_block = "172.31.0.0/16" }
  }
  mock_data "aws_subnets" {
    defaults = { ids = ["subnet-0bbbbbbbbbbbbbbbb", "subnet-0aaaaaaaaaaaaaaaa"] }
  }
  mock_data "aws_subnet" {
    defaults = { id = "subnet-0aaaaaaaaaaaaaaaa", availability_zone = "us-west-2a" }
  }
  mock_data "aws_security_group" {
    defaults = { id = "sg-0ddddddddddddddddd" }
  }
  mock_data "aws_ami" {
    defaults = { id = "ami-0debdebdebdebdebd" }
  }
  mock_data "aws_iam_policy_document" {
    defaults = { json = "{\"Version\":\"2012-10-17\",\"Statement\":[]}" }
  }
  mock_resource "aws_ebs_volume" {
    defaults = { id = "vol-0123456789abcdef0", arn = "arn:aws:ec2:us-west-2:123456789012:volume/vol-0123456789abcdef0" }
  }
  mock_resource "aws_iam_role" {
    defaults = { arn = "arn:aws:iam::123456789012:role/made" }
  }
  mock_resource "aws_security_group" {
    defaults = { id = "sg-0aaaaaaaaaaaaaaaa" }
  }
  mock_resource "aws_lb" {
    defaults = { arn = "arn:aws:elasticloadbalancing:us-west-2:123456789012:loadbalancer/app/a/b", dns_name = "alb.example.com" }
  }
  mock_resource "aws_lb_target_group" {
    defaults = { arn = "arn:aws:elasticloadbalancing:us-west-2:123456789012:targetgroup/a/b" }
  }
  mock_resource "aws_route53_zone" {
    defaults = { zone_id = "Z0123456789ABCDEFGHIJ" }
  }
  mock_resource "aws_instance" {
    defaults = { id = "i-0aaaaaaaaaaaaaaaa", private_ip = "172.31.0.10", public_ip = "203.0.113.10" }
  }
  mock_resource "aws_db_instance" {
    defaults = { address = "db.example.com" }
  }
}

variables {
  bucket        = "state-bucket"
  bundle_key    = "bundles/0123456.tar.gz"
  allowed_cidrs = ["203.0.113.7/32"]
  # The wait asks a real S3.
  wait_seconds = 0
}

run "default" {
  command = plan

  assert {
    condition     = aws_instance.api.metadata_options[0].http_tokens == "required" && aws_instance.api.root_block_device[0].encrypted
    error_message = "IMDSv2 and encrypted disks"
  }
  assert {
    condition     = aws_instance.api.user_data_replace_on_change && length(aws_instance.api.user_data) < 16384
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
    condition     = aws_vpc_security_group_ingress_rule.agents.from_port == 80 && aws_vpc_security_group_ingress_rule.agents.cidr_ipv4 == null
    error_message = "agents get through"
  }
  assert {
    condition     = aws_route53_record.api[0].name == "api.scheduler.internal" && one(aws_route53_record.api[0].records) == "172.31.0.10" && output.agent_url == "http://api.scheduler.internal"
    error_message = "agents call a private name"
  }
  assert {
    condition     = output.instance_id == "i-0aaaaaaaaaaaaaaaa" && output.public_ip == "203.0.113.10" && output.url == "http://203.0.113.10"
    error_message = "outputs"
  }
  assert {
    condition     = strcontains(aws_instance.api.user_data, "ALLOWED_SUBNETS=subnet-0aaaaaaaaaaaaaaaa,subnet-0bbbbbbbbbbbbbbbb\n") && strcontains(aws_instance.api.user_data, "ALLOWED_PROFILES=scheduler-job\n")
    error_message = "the API knows what jobs may name"
  }
  assert {
    condition     = length(aws_db_instance.this) + length(aws_lb.this) == 0
    error_message = "neither RDS nor ALB unless asked for"
  }
}

run "alb" {
  command = plan

  variables {
    certificate_arn = "arn:aws:acm:us-west-2:123456789012:certificate/a"
    domain_name     = "scheduler.example.com"
  }

  assert {
    condition     = output.url == "https://scheduler.example.com" && output.agent_url == output.url && length(aws_route53_zone.private) == 0
    error_message = "users and agents use https"
  }
  assert {
    condition     = alltrue([for rule in aws_vpc_security_group_ingress_rule.users : rule.from_port == 443]) && aws_vpc_security_group_ingress_rule.alb[0].from_port == 80
    error_message = "the door is the load balancer's"
  }
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
    condition     = strcontains(aws_instance.api.user_data, "POSTGRES_HOST=db.example.com\n") && !strcontains(aws_instance.api.user_data, "not-a-real-one")
    error_message = "the instance knows the host, its user data not the password"
  }
}

run "managed_policies" {
  command = plan

  variables {
    iam = "managed"
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
    condition     = length(aws_iam_role.api) + length(aws_iam_instance_profile.api) + length(aws_iam_role.job) == 0 && aws_instance.api.iam_instance_profile == "of-the-platform-team"
    error_message = "nothing is made in IAM"
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
