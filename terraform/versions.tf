terraform {
  required_version = ">= 1.10"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 6.0"
    }
  }

  # Bucket, key and region come from the deploy container, or by hand:
  #   terraform init -backend-config=bucket=sharbesh-terraform-state -backend-config=key=scheduler-api/terraform.tfstate -backend-config=region=us-west-2
  # Give the bucket versioning: the state is the only record of what belongs to this stack.
  backend "s3" {
    encrypt      = true
    use_lockfile = true
  }
}

provider "aws" {
  region = var.region

  # Not scheduler-api:cluster: that tag says "an instance of a job", and the sweep would quarantine the API's own.
  default_tags {
    tags = { "scheduler-api:stack" = var.name }
  }
}
