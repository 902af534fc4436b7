# What AWS answers in the tests beside this folder.

mock_data "aws_partition" {
  defaults = { partition = "aws", dns_suffix = "amazonaws.com" }
}
mock_data "aws_caller_identity" {
  defaults = { account_id = "123456789012" }
}
mock_data "aws_vpc" {
  defaults = {
    id         = "vpc-0aaaaaaaaaaaaaaaa"
    cidr_block = "172.31.0.0/16"
    cidr_block_associations = [
      { association_id = "vpc-cidr-assoc-1", cidr_block = "172.31.0.0/16", state = "associated" },
      { association_id = "vpc-cidr-assoc-2", cidr_block = "100.64.0.0/16", state = "associated" },
      { association_id = "vpc-cidr-assoc-3", cidr_block = "100.65.0.0/16", state = "disassociated" },
    ]
    enable_dns_support   = true
    enable_dns_hostnames = true
  }
}
mock_data "aws_subnets" {
  defaults = { ids = ["subnet-0bbbbbbbbbbbbbbbb", "subnet-0aaaaaaaaaaaaaaaa"] }
}
mock_data "aws_subnet" {
  defaults = { id = "subnet-0aaaaaaaaaaaaaaaa", availability_zone = "us-west-2a" }
}
mock_data "aws_ec2_instance_type_offerings" {
  defaults = { locations = ["us-west-2a"] }
}
mock_data "aws_route53_zone" {
  defaults = { zone_id = "Z0PUBLIC", name = "example.com" }
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
mock_resource "aws_eip" {
  defaults = { id = "eipalloc-0aaaaaaaaaaaaaaaa", public_ip = "203.0.113.20", arn = "arn:aws:ec2:us-west-2:123456789012:elastic-ip/eipalloc-0aaaaaaaaaaaaaaaa" }
}
mock_resource "aws_acm_certificate" {
  defaults = {
    arn                       = "arn:aws:acm:us-west-2:123456789012:certificate/made"
    domain_validation_options = [{ domain_name = "a", resource_record_name = "_a.example.com", resource_record_type = "CNAME", resource_record_value = "_b.acm" }]
  }
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
mock_resource "aws_launch_template" {
  defaults = { id = "lt-0aaaaaaaaaaaaaaaa", latest_version = 1 }
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
