# What a person would write for AWS: nothing here names another place than the provider's own variables do.
terraform {
  required_providers {
    aws = { source = "hashicorp/aws" }
  }
}

variable "name" {
  type = string
}

variable "archive" {
  type = string
}

variable "instances" {
  type    = number
  default = 1
}

variable "greeting" {
  type    = string
  default = "terraform"
}

provider "aws" {}

data "aws_caller_identity" "current" {}

data "aws_region" "current" {}

resource "aws_s3_bucket" "models" {
  bucket        = var.name
  force_destroy = true
  tags          = { team = "a" }
}

resource "aws_s3_bucket_versioning" "models" {
  bucket = aws_s3_bucket.models.id
  versioning_configuration {
    status = "Enabled"
  }
}

resource "aws_s3_object" "model" {
  bucket      = aws_s3_bucket.models.id
  key         = "models/model.tar.gz"
  source      = var.archive
  source_hash = filemd5(var.archive)
  depends_on  = [aws_s3_bucket_versioning.models]
}

data "aws_iam_policy_document" "trust" {
  statement {
    actions = ["sts:AssumeRole"]
    principals {
      type        = "Service"
      identifiers = ["sagemaker.amazonaws.com"]
    }
  }
}

resource "aws_iam_role" "model" {
  name               = var.name
  assume_role_policy = data.aws_iam_policy_document.trust.json
  tags               = { team = "a" }
}

resource "aws_iam_role_policy" "read" {
  role = aws_iam_role.model.name
  name = "read"
  policy = jsonencode({
    Version   = "2012-10-17"
    Statement = [{ Effect = "Allow", Action = ["s3:GetObject"], Resource = "${aws_s3_bucket.models.arn}/*" }]
  })
}

resource "aws_iam_role_policy_attachment" "sagemaker" {
  role       = aws_iam_role.model.name
  policy_arn = "arn:aws:iam::aws:policy/AmazonSageMakerFullAccess"
}

resource "aws_sagemaker_model" "model" {
  name               = "${var.name}-${var.greeting}"
  execution_role_arn = aws_iam_role.model.arn
  tags               = { team = "a" }

  primary_container {
    image          = "683313688378.dkr.ecr.${data.aws_region.current.name}.amazonaws.com/sagemaker-scikit-learn:1.2-1-cpu-py3"
    model_data_url = "s3://${aws_s3_object.model.bucket}/${aws_s3_object.model.key}"
    environment    = { GREETING = var.greeting }
  }

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_sagemaker_endpoint_configuration" "model" {
  name = "${var.name}-${var.greeting}-${var.instances}"

  production_variants {
    variant_name           = "v"
    model_name             = aws_sagemaker_model.model.name
    initial_instance_count = var.instances
    instance_type          = "ml.t2.medium"
  }

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_sagemaker_endpoint" "model" {
  name                 = var.name
  endpoint_config_name = aws_sagemaker_endpoint_configuration.model.name
  tags                 = { team = "a" }
}

output "account" {
  value = data.aws_caller_identity.current.account_id
}
