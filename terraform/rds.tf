# With database = rds. API instances then run side by side during an upgrade, and any number of them may serve.

resource "aws_security_group" "database" {
  count = var.database == "rds" ? 1 : 0

  name_prefix = "${var.name}-database-"
  description = "Database of the Scheduler API"
  vpc_id      = data.aws_vpc.this.id
  tags        = { Name = "${var.name}-database" }

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_vpc_security_group_ingress_rule" "database" {
  count = var.database == "rds" ? 1 : 0

  security_group_id            = aws_security_group.database[0].id
  description                  = "The API"
  ip_protocol                  = "tcp"
  from_port                    = 5432
  to_port                      = 5432
  referenced_security_group_id = aws_security_group.api.id
}

resource "aws_db_subnet_group" "this" {
  count = var.database == "rds" ? 1 : 0

  name       = "${var.name}-api"
  subnet_ids = local.job_subnet_ids
}

resource "aws_db_instance" "this" {
  count = var.database == "rds" ? 1 : 0

  identifier     = "${var.name}-api"
  engine         = "postgres"
  engine_version = var.rds_engine_version
  instance_class = var.rds_instance_class
  db_name        = "scheduler"
  username       = var.rds_username
  password       = var.rds_password

  allocated_storage     = var.rds_storage_gib
  max_allocated_storage = var.rds_storage_gib * 5
  storage_type          = "gp3"
  storage_encrypted     = true

  multi_az               = var.rds_multi_az
  db_subnet_group_name   = aws_db_subnet_group.this[0].name
  vpc_security_group_ids = [aws_security_group.database[0].id]
  publicly_accessible    = false

  backup_retention_period    = 14
  copy_tags_to_snapshot      = true
  deletion_protection        = true
  skip_final_snapshot        = false
  final_snapshot_identifier  = "${var.name}-api-final"
  auto_minor_version_upgrade = true

  lifecycle {
    prevent_destroy = true

    precondition {
      condition     = var.rds_username != null && var.rds_password != null
      error_message = "database = rds needs rds_username and rds_password: POSTGRES_USER and POSTGRES_PASSWORD of the .env file."
    }
    precondition {
      condition     = var.rds_password == null || can(regex("^[!#-.0-?A-~]{8,128}$", var.rds_password))
      error_message = "RDS takes passwords of 8 to 128 printable characters without a space, /, \" and @: change POSTGRES_PASSWORD in the .env file."
    }
    precondition {
      condition     = var.rds_username == null || can(regex("^[A-Za-z][A-Za-z0-9_]{0,62}$", var.rds_username))
      error_message = "RDS takes users of letters, digits and _, beginning with a letter: change POSTGRES_USER in the .env file."
    }
  }
}
