# What an installation chooses. Write terraform.tfvars next to this file, or set TF_VAR_<name>.
# Two have no default: bucket and allowed_cidrs.

variable "name" {
  description = "Name of this stack and of its fleet (CLUSTER), in names and tags. One per database."
  type        = string
  default     = "scheduler"

  validation {
    condition     = can(regex("^[a-z]([-a-z0-9]{0,22}[a-z0-9])?$", var.name))
    error_message = "must be a DNS label of at most 24 characters, beginning with a letter"
  }

  validation {
    condition     = !startswith("${var.name}-", "internal-")
    error_message = "must not begin with internal, which AWS keeps for itself in the names of load balancers"
  }
}

variable "region" {
  description = "Region of the API and of the jobs' instances."
  type        = string
  default     = "us-west-2"
}

# --- S3 -------------------------------------------------------------------------------------------------------------

variable "bucket" {
  description = "Bucket with the secrets, the source bundles and the logs; the deploy container sets it to the bucket of the state. For example sharbesh-terraform-state."
  type        = string
}

variable "secrets_key" {
  description = "Key of the .env file in the bucket: POSTGRES_USER, POSTGRES_PASSWORD, ADMIN_TOKEN, ENCRYPTION_KEY and any other setting. What it sets wins over what is set here."
  type        = string
  default     = "secrets/.env"
}

variable "bundle_key" {
  description = "Key of the source bundle in the bucket (git archive, tar.gz). A new key is a new instance. The deploy container uploads it and sets this."
  type        = string

  validation {
    condition     = startswith(var.bundle_key, "bundles/")
    error_message = "must begin with bundles/, which is all that the instance may read besides the secrets"
  }
}

variable "log_prefix" {
  description = "Prefix in the bucket that the API may read and write; boot/<instance id>.log and .state below it report how a new instance is doing."
  type        = string
  default     = "logs/scheduler/"

  validation {
    condition     = can(regex("^[^/].*/$", var.log_prefix))
    error_message = "must end with a slash and not begin with one"
  }
}

variable "secrets_version" {
  description = "Version of the .env file and of the agents' keys; another one is a new instance. The deploy container sets it."
  type        = string
  default     = ""
}

variable "agent_keys_prefix" {
  description = "Prefix in the bucket of current.pem and next.pem, the keys of TLS for agents. The deploy container makes them."
  type        = string
  default     = "secrets/agent-keys/"

  validation {
    condition     = can(regex("^[^/].*/$", var.agent_keys_prefix))
    error_message = "must end with a slash and not begin with one"
  }
}

variable "bucket_region" {
  description = "Region of the bucket. Default: region. The deploy container sets it."
  type        = string
  default     = null
}

variable "kms_key_arn" {
  description = "KMS key the bucket is encrypted with, if it is one of your own."
  type        = string
  default     = null
}

variable "ebs_kms_key_arn" {
  description = "KMS key of your own that disks are encrypted with, if the account's default for EBS is one: without permission to use it EC2 ends every instance as it starts (Client.InternalError)."
  type        = string
  default     = null
}

# --- The API's instance ---------------------------------------------------------------------------------------------

variable "app_image" {
  description = "Image of the API, from ECR or any registry the instance can pull from. Default: the instance builds it from the bundle, which takes some minutes."
  type        = string
  default     = ""
}

variable "instance_type" {
  description = "Type of the API's instance: a Nitro one (the hand-over reads instance tags, which older ones do not refresh). Below 2 GiB of memory set app_image, too."
  type        = string
  default     = "t3.small"
}

variable "ami_id" {
  description = "AMI of the API's instance: Debian 12. Default: Debian's newest, so that every deployment brings the patches; pin it if a new AMI alone must not replace the instance."
  type        = string
  default     = null
}

variable "architecture" {
  description = "Architecture of the default AMI: amd64, or arm64 for types like t4g."
  type        = string
  default     = "amd64"

  validation {
    condition     = contains(["amd64", "arm64"], var.architecture)
    error_message = "must be amd64 or arm64"
  }
}

variable "root_disk_gib" {
  description = "Disk of the API's instance, for images and logs."
  type        = number
  default     = 20
}

variable "settings" {
  description = "More settings of the API (docs/settings.md), for example { MAX_INSTANCES = \"100\" }. No secrets: they would be in the instance's user data and in the state."
  type        = map(string)
  default     = {}

  validation {
    condition     = alltrue([for name, value in var.settings : can(regex("^[A-Z][A-Z0-9_]*$", name)) && can(regex("^[^\\s'\"\\\\$#]*$", value))])
    error_message = "names are A-Z, 0-9 and _; values have no spaces, quotes, backslashes, $ or #"
  }

  validation {
    condition     = length(setintersection(keys(var.settings), ["POSTGRES_PASSWORD", "ADMIN_TOKEN", "ENCRYPTION_KEY", "DATABASE_URL", "DATABASE_LISTEN_URL"])) == 0
    error_message = "secrets belong into the .env file in S3"
  }

  validation {
    condition     = length(setintersection(keys(var.settings), ["CLUSTER", "AWS_REGION", "AGENT_URL", "AGENT_PINS", "ALLOWED_SUBNETS", "ALLOWED_SECURITY_GROUPS", "ALLOWED_PROFILES", "ALLOWED_AMIS", "ALLOWED_CIDRS", "INGRESS_CIDRS"])) == 0
    error_message = "CLUSTER, AWS_REGION, AGENT_URL, AGENT_PINS, ALLOWED_* and INGRESS_CIDRS follow from name, region, job_subnet_ids, job_security_group_ids, job_profiles, job_amis, allowed_cidrs and ingress_cidrs, which the API's permissions and network follow, too"
  }
}

variable "wait_seconds" {
  description = "How long an apply waits for a new instance to serve before it gives up and leaves the old one alone. 0: does not wait, needs no AWS CLI; the old instance then goes as soon as the new one exists."
  type        = number
  default     = 1800
}

# --- Network --------------------------------------------------------------------------------------------------------

variable "allowed_cidrs" {
  description = "Who may call the API, for example [\"203.0.113.7/32\"]. No default on purpose; [\"0.0.0.0/0\"] without an ALB sends the admin token in clear text over the internet. Where ingress_cidrs differs, or job_security_group_ids is set, another list is another instance, as its nginx has it."
  type        = list(string)

  validation {
    condition     = length(var.allowed_cidrs) > 0 && alltrue([for cidr in var.allowed_cidrs : can(cidrnetmask(cidr))])
    error_message = "must be at least one IPv4 network like 203.0.113.7/32"
  }
}

variable "ingress_cidrs" {
  description = "Who may call jobs at their URLs, for example [\"0.0.0.0/0\"]. They may not call the API, and those of allowed_cidrs may not call jobs unless they are here, too. Default: allowed_cidrs. Containers of jobs may call jobs in any case, within the VPC. Where the two lists differ, another list is another instance, as its nginx has them."
  type        = list(string)
  default     = null

  validation {
    condition     = var.ingress_cidrs == null ? true : length(var.ingress_cidrs) > 0 && alltrue([for cidr in var.ingress_cidrs : can(cidrnetmask(cidr))])
    error_message = "must be at least one IPv4 network like 203.0.113.7/32"
  }

  validation {
    condition     = var.ingress_cidrs == null || local.has_addresses
    error_message = "has no meaning where jobs have no URLs: set jobs_domain, or jobs_wildcard_dns with an Elastic IP and without a load balancer"
  }
}

variable "ingress_count" {
  description = "Instances that serve jobs alone, behind a network load balancer of their own: 1, or 2 so that the loss of one is not noticed either. Callers of jobs then do not notice when the API's instance is replaced. Needs jobs_domain. Default: nginx on the API's instance serves jobs, which cannot be called while it is replaced. 0: so it does, and is prepared for an ingress; the step between the two, both ways (docs/addresses.md)."
  type        = number
  default     = null

  validation {
    condition     = contains([0, 1, 2], coalesce(var.ingress_count, 0))
    error_message = "must be 0, 1 or 2"
  }

  validation {
    condition     = coalesce(var.ingress_count, 0) == 0 || var.jobs_domain != null
    error_message = "needs jobs_domain: names made of an address lead to the API's instance"
  }
}

variable "ingress_instance_type" {
  description = "Type of those instances. Default: t3.micro, with architecture = arm64 t4g.micro."
  type        = string
  default     = null
}

variable "vpc_id" {
  description = "VPC of the API and the jobs. Default: the default VPC."
  type        = string
  default     = null
}

variable "subnet_id" {
  description = "Subnet of the API's instance. Default: the first of job_subnet_ids. The database's volume lives in its availability zone and cannot leave it."
  type        = string
  default     = null
}

variable "public_ip" {
  description = "Whether the API's instance gets a public address. Without one its subnet needs a NAT."
  type        = bool
  default     = true
}

variable "elastic_ip" {
  description = "With public_ip: whether that address is an Elastic IP, which outlives the instance. An account has five in a region, unless its quota was raised."
  type        = bool
  default     = true
}

variable "job_subnet_ids" {
  description = "Subnets of the jobs' instances (ALLOWED_SUBNETS). Default: the VPC's default subnets, one a zone."
  type        = list(string)
  default     = []
}

variable "job_security_group_ids" {
  description = "More security groups that jobs may name (ALLOWED_SECURITY_GROUPS), besides the one that is made here."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for id in var.job_security_group_ids : can(regex("^sg-[0-9a-f]{8,17}$", id))])
    error_message = "must be ids of security groups"
  }
}

variable "job_ingress" {
  description = "Who may reach which ports of jobs that name the job security group, at their instances' addresses. Default: none; where jobs have URLs the API's nginx may reach them all."
  type = list(object({
    cidr = string
    from = number
    to   = number
  }))
  default = []
}

variable "private_zone_name" {
  description = "Route 53 private zone for the name agents use, api.<zone>. Default: <name>.internal."
  type        = string
  default     = null
}

# --- IAM: three ways, for callers with all, some or none of the permissions -------------------------------------------

variable "iam" {
  description = <<-EOT
    create:   a role, an instance profile and a least-privilege policy of our own (needs iam:PutRolePolicy);
    managed:  a role and an instance profile with managed_policy_arns attached, where the caller may create no policy;
    existing: existing_instance_profile, where the caller may create nothing in IAM.
  EOT
  type        = string
  default     = "create"

  validation {
    condition     = contains(["create", "managed", "existing"], var.iam)
    error_message = "must be create, managed or existing"
  }
}

variable "ssm" {
  description = "Whether the API's instance runs AWS's SSM agent, for `scheduler-deploy logs` and `shell`: no port is opened, and CloudTrail records who called. With iam = create its role may do what RunCommand and Session Manager need; with managed it gets AWS's policy AmazonSSMManagedEC2InstanceDefaultPolicy; with existing `terraform output policy` says what it must allow."
  type        = bool
  default     = true
}

variable "managed_policy_arns" {
  description = "With iam = managed: existing policies for the API's role. The default are AWS's own, the narrowest there are; EC2 and S3 they allow whole, in all of the account, but not PassRole (jobs then name no profile)."
  type        = list(string)
  default = [
    "arn:aws:iam::aws:policy/AmazonEC2FullAccess",
    "arn:aws:iam::aws:policy/AmazonS3FullAccess",
    "arn:aws:iam::aws:policy/AmazonEC2ContainerRegistryPullOnly",
  ]
}

variable "existing_instance_profile" {
  description = "With iam = existing: name of the API's instance profile. `terraform output policy` shows what its role must allow."
  type        = string
  default     = null

  validation {
    condition     = (var.existing_instance_profile != null) == (var.iam == "existing")
    error_message = "is required with iam = existing, and has no meaning otherwise"
  }
}

variable "permissions_boundary_arn" {
  description = "Permissions boundary of the roles made here, where the account requires one."
  type        = string
  default     = null
}

variable "job_amis" {
  description = "AMIs that jobs may name besides the aliases of Amazon's ECS-optimised ones (ALLOWED_AMIS). Their owners go into job_ami_owners."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for id in var.job_amis : can(regex("^ami-[0-9a-f]{8,17}$", id))])
    error_message = "must be AMI ids"
  }
}

variable "job_ami_owners" {
  description = "Accounts whose AMIs the API may launch besides Amazon's: those of job_amis, and of DEFAULT_AMI where it is an id."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for id in var.job_ami_owners : can(regex("^[0-9]{12}$", id))])
    error_message = "must be account ids of 12 digits"
  }
}

variable "job_policy_arns" {
  description = "Policies for the role of jobs that name the profile <name>-job. Default: none, the role can do nothing. Every container of such a job has these permissions."
  type        = list(string)
  default     = []
}

variable "job_profiles" {
  description = "More instance profiles jobs may name: profile name = ARN of its role."
  type        = map(string)
  default     = {}
}

variable "ecr_repository_arns" {
  description = "ECR repositories that app_image and the jobs' images are pulled from. For more than a dozen a pattern like arn:aws:ecr:us-west-2:123456789012:repository/team/*, as a role's policies may have 10,240 characters."
  type        = list(string)
  default     = []
}

# --- Database -------------------------------------------------------------------------------------------------------

variable "database" {
  description = <<-EOT
    volume:   Postgres on the API's instance, its data on an EBS volume of its own that is handed from instance to instance;
    rds:      an RDS instance made here; POSTGRES_USER and POSTGRES_PASSWORD of the .env file become its own;
    external: a Postgres you run: POSTGRES_HOST or DATABASE_URL in the .env file.
    Another one begins empty. Away from volume: keep_data_volume.
  EOT
  type        = string
  default     = "volume"

  validation {
    condition     = contains(["volume", "rds", "external"], var.database)
    error_message = "must be volume, rds or external"
  }
}

variable "data_volume_gib" {
  description = "Size of the database's volume. Larger later: raise it, then `resize2fs` on the instance."
  type        = number
  default     = 20
}

variable "keep_data_volume" {
  description = "With another database than volume, of a stack that had one: the volume stays as it is, for the way back. Without this an apply is refused, as it would take the data away."
  type        = bool
  default     = false
}

variable "data_snapshot_id" {
  description = "Snapshot to make the database's volume from, to restore a backup into a new stack."
  type        = string
  default     = null
}

variable "rds_instance_class" {
  description = "Class of the RDS instance."
  type        = string
  default     = "db.t4g.small"
}

variable "rds_engine_version" {
  description = "Postgres version of the RDS instance."
  type        = string
  default     = "18"
}

variable "rds_storage_gib" {
  description = "Storage of the RDS instance; it grows to five times as much by itself."
  type        = number
  default     = 20
}

variable "rds_multi_az" {
  description = "Whether RDS keeps a stand-by in another availability zone."
  type        = bool
  default     = false
}

variable "rds_username" {
  description = "POSTGRES_USER of the .env file; the deploy container sets it."
  type        = string
  default     = null
}

variable "rds_password" {
  description = "POSTGRES_PASSWORD of the .env file; the deploy container sets it. It is in the state, which is why the bucket must be private."
  type        = string
  default     = null
  sensitive   = true
}

# --- ALB ------------------------------------------------------------------------------------------------------------

variable "api_domain" {
  description = "Name for users, like scheduler.example.com, in a hosted zone of this account (dns_zone_id, or the zone example.com). Setting it makes a certificate, its records and a load balancer with TLS."
  type        = string
  default     = null

  validation {
    condition     = var.api_domain == null || can(regex("^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?){2,}$", var.api_domain))
    error_message = "must be a name in lower case with three parts or more, like scheduler.example.com"
  }

  validation {
    condition     = var.api_domain == null || var.certificate_arn == null
    error_message = "has no meaning with certificate_arn: one of the two"
  }
}

variable "jobs_domain" {
  description = "Domain of the jobs' addresses, like jobs.example.com: a job named web is at web.jobs.example.com. Default: none, see jobs_wildcard_dns. Setting it sets JOBS_URL and makes the wildcard record in a hosted zone of this account (dns_zone_id, or the zone example.com), and with api_domain the certificate."
  type        = string
  default     = null

  validation {
    condition     = var.jobs_domain == null || can(regex("^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)*\\.[a-z]([-a-z0-9]{0,61}[a-z0-9])?$", var.jobs_domain))
    error_message = "must be a name in lower case with two parts or more, like jobs.example.com"
  }

  # The API refuses to start where a job's name could be its own. Of one name, pages of jobs could set cookies for the API.
  validation {
    condition = alltrue([
      for host in compact([local.domain_name, "api.${local.private_zone_name}"]) :
      var.jobs_domain == null ? true : !endswith(".${host}", ".${var.jobs_domain}")
    ])
    error_message = "must be neither the API's own name (api_domain or domain_name, or agents' name api.<private_zone_name>) nor a domain that it is in: take a name beside it, like jobs.example.com for scheduler.example.com"
  }

  validation {
    condition     = var.jobs_domain == null || alltrue([for host in compact([var.jobs_domain, local.domain_name]) : !endswith(host, ".${local.jobs_private_domain}")])
    error_message = "neither it nor the API's name may be below jobs.<private_zone_name>, where each name is that of a job for callers among the jobs"
  }
}

variable "jobs_wildcard_dns" {
  description = "Without jobs_domain, with an Elastic IP and without a load balancer: a DNS service that answers names in which an address stands by that address, so that a job named web is at http://web.203-0-113-20.sslip.io. It is a third party's: whoever runs it decides where these names lead, and learns of each lookup; nothing else goes there. null or \"\": jobs have no URL without jobs_domain."
  type        = string
  default     = "sslip.io"

  validation {
    condition     = var.jobs_wildcard_dns == null || var.jobs_wildcard_dns == "" || can(regex("^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)*\\.[a-z]([-a-z0-9]{0,61}[a-z0-9])?$", var.jobs_wildcard_dns))
    error_message = "must be a name in lower case like sslip.io, or null"
  }
}

variable "certificate_arn" {
  description = "ACM certificate of domain_name (and of *.<jobs_domain>), if you make it yourself. Setting it makes a load balancer with TLS."
  type        = string
  default     = null
}

variable "domain_name" {
  description = "With certificate_arn: the name users call, one the certificate is valid for."
  type        = string
  default     = null

  validation {
    condition     = (var.domain_name != null) == (var.certificate_arn != null)
    error_message = "is required with certificate_arn, and has no meaning without"
  }
}

variable "dns_zone_id" {
  description = "Route 53 zone to write the names into, that of jobs_domain too. Default: the zones one part above api_domain and jobs_domain; with certificate_arn none, you point the names at the output alb_dns_name yourself."
  type        = string
  default     = null
}

variable "alb_internal" {
  description = "Whether the load balancer has private addresses only. Default: with certificate_arn yes, with api_domain no."
  type        = bool
  default     = null
}

variable "alb_subnet_ids" {
  description = "Subnets of the load balancer, in at least two zones. Default: job_subnet_ids."
  type        = list(string)
  default     = []
}
