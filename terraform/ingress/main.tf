# First-boot script of the ingress' instances. No resources here: test/integration/terraform.spec.ts evaluates it without
# provider or account. All that such an instance needs is in it, so that it has no role, reads no bucket, and another release
# of the API is no other ingress unless its nginx changes.

variable "image" {
  description = "The nginx image of docker-compose.yml."
  type        = string
}
variable "files" {
  description = "Of deploy/nginx: name = text."
  type        = map(string)
}
variable "environment" {
  description = "Of nginx, as docker-compose.yml has it. No secrets."
  type        = map(string)
}

locals {
  nginx = merge({
    API_LISTENER    = "off"
    AGENT_LISTENER  = "off"
    LOOKUP_LISTENER = "off"
    NGINX_RATE      = "50"
    # The load balancer passes connections on: callers come by their own addresses.
    TRUSTED_PROXY = "255.255.255.255"
  }, var.environment)
}

output "text" {
  value = join("\n", concat(
    [
      "#!/bin/bash",
      "IMAGE='${var.image}'",
      "ENVIRONMENT='${join("\n", [for name in sort(keys(local.nginx)) : "${name}=${replace(local.nginx[name], "'", "'\\''")}"])}'",
      "write_files() {",
    ],
    # The delimiter is quoted: nothing in a file is expanded.
    [for name in sort(keys(var.files)) : "cat >\"$1/${name}\" <<'END_OF_FILE'\n${trimsuffix(var.files[name], "\n")}\nEND_OF_FILE"],
    ["}", file("${path.module}/user-data.sh")],
  ))
}
