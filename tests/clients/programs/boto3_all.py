"""boto3 of any version: S3, IAM, STS, a model in service, its errors, and the end. Argument: a model.tar.gz."""

import contextlib
import io
import json
import os
import ssl
import sys
import urllib.request

import boto3
from boto3.s3.transfer import TransferConfig
from botocore.exceptions import ClientError

ARCHIVE = sys.argv[1]
IMAGE = "683313688378.dkr.ecr.us-east-1.amazonaws.com/sagemaker-scikit-learn:1.2-1-cpu-py3"
QUICK = {"Delay": 1, "MaxAttempts": 60}


def code_of(call, **arguments):
    try:
        call(**arguments)
    except ClientError as error:
        return error.response["Error"]["Code"], error.response["Error"]["Message"]
    raise AssertionError("no error")


def opened(request):
    bundle = os.environ.get("AWS_CA_BUNDLE")
    context = ssl.create_default_context(cafile=bundle) if bundle else None
    with urllib.request.urlopen(request, timeout=20, context=context) as answer:
        return answer.read()


sts, s3, iam = boto3.client("sts"), boto3.client("s3"), boto3.client("iam")
sagemaker, runtime = boto3.client("sagemaker"), boto3.client("sagemaker-runtime")
name = f"boto3-{boto3.__version__.replace('.', '-')}-{sagemaker.meta.endpoint_url.split(':')[0]}"

account = sts.get_caller_identity()["Account"]

# S3: small and large objects, ranges, lists, copies, presigned requests, errors.
s3.create_bucket(Bucket=name)
assert code_of(s3.create_bucket, Bucket="Aa")[0] == "InvalidBucketName"
assert s3.put_object(Bucket=name, Key="a/b c+é", Body=b"hello", Metadata={"k": "v"})["ETag"]
got = s3.get_object(Bucket=name, Key="a/b c+é")
assert (got["Body"].read(), got["Metadata"]) == (b"hello", {"k": "v"})
assert s3.get_object(Bucket=name, Key="a/b c+é", Range="bytes=1-2")["Body"].read() == b"el"
large = bytes(range(256)) * 65536
transfer = TransferConfig(multipart_threshold=5 << 20, multipart_chunksize=5 << 20)
s3.upload_fileobj(io.BytesIO(large), name, "large", Config=transfer)
back = io.BytesIO()
s3.download_fileobj(name, "large", back, Config=transfer)
assert back.getvalue() == large
s3.copy({"Bucket": name, "Key": "large"}, name, "copy", Config=transfer)
assert s3.head_object(Bucket=name, Key="copy")["ContentLength"] == len(large)
for number in range(5):
    s3.put_object(Bucket=name, Key=f"n/{number}", Body=str(number))
pages = s3.get_paginator("list_objects_v2").paginate(Bucket=name, Prefix="n/", PaginationConfig={"PageSize": 2})
assert [each["Key"] for page in pages for each in page["Contents"]] == [f"n/{number}" for number in range(5)]
folders = s3.list_objects_v2(Bucket=name, Delimiter="/")["CommonPrefixes"]
assert [each["Prefix"] for each in folders] == ["a/", "n/"]
url = s3.generate_presigned_url("get_object", Params={"Bucket": name, "Key": "n/3"})
assert opened(url) == b"3"
url = s3.generate_presigned_url("put_object", Params={"Bucket": name, "Key": "put"})
untyped = urllib.request.Request(url, data=b"by url", method="PUT", headers={"Content-Type": ""})
opened(untyped)
assert s3.get_object(Bucket=name, Key="put")["Body"].read() == b"by url"
assert code_of(s3.get_object, Bucket=name, Key="none")[0] == "NoSuchKey"
assert code_of(s3.head_object, Bucket=name, Key="none")[0] == "404"
assert code_of(s3.delete_bucket, Bucket=name)[0] == "BucketNotEmpty"
with contextlib.suppress(s3.exceptions.NoSuchKey):
    s3.get_object(Bucket=name, Key="none")
resource = boto3.resource("s3").Bucket(name)
assert {each.key for each in resource.objects.filter(Prefix="n/")} == {f"n/{number}" for number in range(5)}

# IAM: a role that SageMaker may take.
trust = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"Service": "sagemaker.amazonaws.com"}, "Action": "sts:AssumeRole"}],
}
role = iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(trust))["Role"]["Arn"]
assert iam.get_role(RoleName=name)["Role"]["AssumeRolePolicyDocument"] == trust
iam.attach_role_policy(RoleName=name, PolicyArn="arn:aws:iam::aws:policy/AmazonSageMakerFullAccess")
assert len(iam.list_attached_role_policies(RoleName=name)["AttachedPolicies"]) == 1
assert name in {each["RoleName"] for page in iam.get_paginator("list_roles").paginate() for each in page["Roles"]}
assert code_of(iam.create_role, RoleName=name, AssumeRolePolicyDocument=json.dumps(trust))[0] == "EntityAlreadyExists"

# A model in service.
s3.upload_file(ARCHIVE, name, "model.tar.gz")
sagemaker.create_model(
    ModelName=name,
    ExecutionRoleArn=role,
    PrimaryContainer={
        "Image": IMAGE,
        "ModelDataUrl": f"s3://{name}/model.tar.gz",
        "Environment": {"GREETING": "boto3"},
    },
    Tags=[{"Key": "team", "Value": "a"}],
)
variant = {"ModelName": name, "InitialInstanceCount": 1, "InstanceType": "ml.t3.medium"}
first = {**variant, "VariantName": "first", "InitialVariantWeight": 1.0}
second = {**variant, "VariantName": "second", "InitialVariantWeight": 1.0}
sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[first])
sagemaker.create_endpoint_config(EndpointConfigName=f"{name}-two", ProductionVariants=[first, second])
sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)
sagemaker.get_waiter("endpoint_in_service").wait(EndpointName=name, WaiterConfig=QUICK)
answer = runtime.invoke_endpoint(
    EndpointName=name, ContentType="application/json", Body=json.dumps([[5.1, 3.5, 1.4, 0.2], [6.7, 3.0, 5.2, 2.3]])
)
assert answer["InvokedProductionVariant"] == "first"
assert json.loads(answer["Body"].read()) == {"by": "boto3", "labels": [0, 2]}
answer = runtime.invoke_endpoint(EndpointName=name, ContentType="text/csv", Accept="text/csv", Body="5.1,3.5,1.4,0.2")
assert answer["Body"].read() == b"0"
answer = runtime.invoke_endpoint_with_response_stream(
    EndpointName=name, ContentType="text/csv", Accept="text/parts", Body="5.1,3.5,1.4,0.2\n6.7,3.0,5.2,2.3"
)
assert (answer["ContentType"], answer["InvokedProductionVariant"]) == ("text/plain", "first")
assert [event["PayloadPart"]["Bytes"] for event in answer["Body"]] == [b"0;", b"2;"]

sagemaker.update_endpoint(EndpointName=name, EndpointConfigName=f"{name}-two")
sagemaker.get_waiter("endpoint_in_service").wait(EndpointName=name, WaiterConfig=QUICK)
sagemaker.update_endpoint_weights_and_capacities(
    EndpointName=name, DesiredWeightsAndCapacities=[{"VariantName": "second", "DesiredWeight": 0.0}]
)
sagemaker.get_waiter("endpoint_in_service").wait(EndpointName=name, WaiterConfig=QUICK)
described = sagemaker.describe_endpoint(EndpointName=name)["ProductionVariants"]
weights = {each["VariantName"]: each["CurrentWeight"] for each in described}
assert weights == {"first": 1.0, "second": 0.0}, weights
answer = runtime.invoke_endpoint(
    EndpointName=name, ContentType="text/csv", Accept="text/csv", Body="5.1,3.5,1.4,0.2", TargetVariant="second"
)
assert answer["InvokedProductionVariant"] == "second"

# Lists, tags and errors.
arn = sagemaker.describe_model(ModelName=name)["ModelArn"]
assert sagemaker.list_tags(ResourceArn=arn)["Tags"] == [{"Key": "team", "Value": "a"}]
for operation, key, member in (
    ("list_models", "Models", "ModelName"),
    ("list_endpoint_configs", "EndpointConfigs", "EndpointConfigName"),
    ("list_endpoints", "Endpoints", "EndpointName"),
):
    found = sagemaker.get_paginator(operation).paginate(NameContains=name, PaginationConfig={"PageSize": 1})
    assert name in [each[member] for page in found for each in page[key]]
code, message = code_of(sagemaker.describe_endpoint, EndpointName="none")
assert (code, "Could not find" in message) == ("ValidationException", True), message
code, message = code_of(sagemaker.create_endpoint, EndpointName=name, EndpointConfigName=name)
assert (code, "existing" in message) == ("ValidationException", True), message
try:
    runtime.invoke_endpoint(EndpointName=name, ContentType="application/json", Body=b"not json")
except runtime.exceptions.ModelError as error:
    status = error.response["OriginalStatusCode"]
assert status >= 400
assert code_of(runtime.invoke_endpoint, EndpointName="none", Body=b"")[0] == "ValidationError"

# The end.
sagemaker.delete_endpoint(EndpointName=name)
sagemaker.get_waiter("endpoint_deleted").wait(EndpointName=name, WaiterConfig=QUICK)
sagemaker.delete_endpoint_config(EndpointConfigName=name)
sagemaker.delete_endpoint_config(EndpointConfigName=f"{name}-two")
sagemaker.delete_model(ModelName=name)
iam.detach_role_policy(RoleName=name, PolicyArn="arn:aws:iam::aws:policy/AmazonSageMakerFullAccess")
iam.delete_role(RoleName=name)
resource.objects.all().delete()
s3.delete_bucket(Bucket=name)
assert account == role.split(":")[4]
