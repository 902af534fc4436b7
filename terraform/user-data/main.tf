# First-boot script of the API's instance. No resources here: test/integration/terraform.spec.ts evaluates it without
# provider or account. What it renders can be read by anybody who may describe the instance: no secrets.

variable "name" { type = string }
variable "region" { type = string }
variable "bucket" { type = string }
variable "secrets_key" { type = string }
variable "secrets_version" {
  description = "Not read: another value makes another instance, which gets the present secrets."
  type        = string
}
variable "instance_type" {
  description = "Not read: another value makes another instance, where EC2 would stop this one for minutes to change it."
  type        = string
}
variable "agent_keys_prefix" { type = string }
variable "bundle_key" { type = string }
variable "log_prefix" { type = string }
variable "app_image" { type = string }
variable "database" { type = string }
variable "rds_authorities_url" { type = string }
variable "data_volume_id" {
  type    = string
  default = null
}
variable "address_id" {
  description = "Elastic IP that follows the instance that serves; null = none."
  type        = string
  default     = null
}
variable "record" {
  description = "Names that lead to the instance that serves: its own, and that of jobs; null = none."
  type        = object({ zone_id = string, name = string, jobs_name = optional(string) })
  default     = null
}
variable "lookup_port" {
  description = "Where the ingress of jobs looks hosts up, if it is on instances of its own; null = it is not."
  type        = number
  default     = null
}
variable "balancer_port" {
  description = "Where the load balancer comes to, alone: only there it is believed who its callers are; null = there is none."
  type        = number
  default     = null
}
variable "ssm_agent_url" {
  description = "Where AWS keeps the packages of its SSM agent; empty = none is installed."
  type        = string
  default     = ""
}
variable "decided" {
  description = "For the .env file, whatever S3's says."
  type        = map(string)
}
variable "settings" {
  description = "For the .env file, where S3's says nothing else."
  type        = map(string)
}

locals {
  environment = {
    STACK_NAME       = var.name
    SECRETS_URI      = "s3://${var.bucket}/${var.secrets_key}"
    SECRETS_VERSION  = var.secrets_version
    INSTANCE_TYPE    = var.instance_type
    AGENT_KEYS_URI   = "s3://${var.bucket}/${var.agent_keys_prefix}"
    BUNDLE_URI       = "s3://${var.bucket}/${var.bundle_key}"
    LOG_URI          = "s3://${var.bucket}/${var.log_prefix}boot/"
    APP_IMAGE        = var.app_image
    DATABASE         = var.database
    RDS_AUTHORITIES  = var.rds_authorities_url
    DATA_VOLUME_ID   = var.data_volume_id == null ? "" : var.data_volume_id
    ADDRESS_ID       = var.address_id == null ? "" : var.address_id
    RECORD_ZONE_ID   = var.record == null ? "" : var.record.zone_id
    RECORD_NAME      = var.record == null ? "" : var.record.name
    JOBS_RECORD_NAME = try(var.record.jobs_name, null) == null ? "" : var.record.jobs_name
    LOOKUP_PORT      = var.lookup_port == null ? "" : tostring(var.lookup_port)
    BALANCER_PORT    = var.balancer_port == null ? "" : tostring(var.balancer_port)
    SSM_AGENT_URL    = var.ssm_agent_url
    DECIDED          = join("\n", [for name in sort(keys(var.decided)) : "${name}=${var.decided[name]}"])
    SETTINGS         = join("\n", [for name in sort(keys(var.settings)) : "${name}=${var.settings[name]}"])
  }
}

output "text" {
  value = join("\n", [
    "#!/bin/bash",
    "export AWS_DEFAULT_REGION='${var.region}'",
    # Not exported: docker-compose would read SECRETS_URI and APP_IMAGE from the environment, before the .env file.
    # Single quotes: nothing in a value is expanded. An inner one is closed, escaped and opened again.
    join("\n", [for name in sort(keys(local.environment)) :
      "${name}='${replace(local.environment[name], "'", "'\\''")}'"
    ]),
    file("${path.module}/user-data.sh"),
  ])
}
