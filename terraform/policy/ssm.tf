# What AWS's SSM agent needs for RunCommand and Session Manager (`scheduler-deploy logs`, `shell` and the like). AWS's policy
# AmazonSSMManagedInstanceCore has more: the account's parameters, documents, associations, inventory, packages. The document
# of a command comes with its message, by ssmmessages or, where that is not to be reached, by ec2messages:
# https://docs.aws.amazon.com/systems-manager/latest/userguide/systems-manager-setting-up-messageAPIs.html

variable "ssm" {
  description = "Whether the API's instance runs the agent."
  type        = bool
  default     = false
}

locals {
  ssm = flatten([for runs in [var.ssm] : [
    {
      Sid      = "BeSeenBySsm"
      Effect   = "Allow"
      Action   = ["ssm:UpdateInstanceInformation"]
      Resource = "${local.own}:instance/*"
    },
    {
      # They have no resources.
      Sid    = "HearAndAnswerSsm"
      Effect = "Allow"
      Action = [
        "ssmmessages:CreateControlChannel", "ssmmessages:CreateDataChannel",
        "ssmmessages:OpenControlChannel", "ssmmessages:OpenDataChannel",
        "ec2messages:AcknowledgeMessage", "ec2messages:DeleteMessage", "ec2messages:FailMessage",
        "ec2messages:GetEndpoint", "ec2messages:GetMessages", "ec2messages:SendReply",
      ]
      Resource = "*"
    },
  ] if runs])
}
