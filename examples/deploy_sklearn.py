"""A scikit-learn model in service with nothing but boto3.

    kedge up --detach
    eval "$(kedge env)"
    python examples/deploy_sklearn.py

Without `kedge env` the same script would work on SageMaker, given a role and the public scikit-learn image.
"""

import io
import tarfile

import boto3
import joblib
from sklearn.datasets import load_wine
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

NAME = "example-wine"

features, grower = load_wine(return_X_y=True)
model = make_pipeline(StandardScaler(), LogisticRegression()).fit(features, grower)

# SageMaker's contract: a model.tar.gz with the model's file at its root.
saved, packed = io.BytesIO(), io.BytesIO()
joblib.dump(model, saved)
with tarfile.open(fileobj=packed, mode="w:gz") as archive:
    member = tarfile.TarInfo("model.joblib")
    member.size = saved.tell()
    saved.seek(0)
    archive.addfile(member, saved)

account = boto3.client("sts").get_caller_identity()["Account"]
s3, sagemaker, runtime = boto3.client("s3"), boto3.client("sagemaker"), boto3.client("sagemaker-runtime")
bucket = f"sagemaker-{sagemaker.meta.region_name}-{account}"
s3.put_object(Bucket=bucket, Key=f"{NAME}/model.tar.gz", Body=packed.getvalue())

sagemaker.create_model(
    ModelName=NAME,
    ExecutionRoleArn=f"arn:aws:iam::{account}:role/kedge-execution-role",
    PrimaryContainer={"Image": "kedge/sklearn", "ModelDataUrl": f"s3://{bucket}/{NAME}/model.tar.gz"},
)
sagemaker.create_endpoint_config(
    EndpointConfigName=NAME,
    ProductionVariants=[
        {"VariantName": "only", "ModelName": NAME, "InitialInstanceCount": 1, "InstanceType": "ml.t3.medium"}
    ],
)
sagemaker.create_endpoint(EndpointName=NAME, EndpointConfigName=NAME)
sagemaker.get_waiter("endpoint_in_service").wait(EndpointName=NAME)

row = ",".join(str(value) for value in features[0])
answer = runtime.invoke_endpoint(EndpointName=NAME, ContentType="text/csv", Accept="text/csv", Body=row)
print(f"grower {answer['Body'].read().decode().strip()}, truth {grower[0]}")

sagemaker.delete_endpoint(EndpointName=NAME)
sagemaker.delete_endpoint_config(EndpointConfigName=NAME)
sagemaker.delete_model(ModelName=NAME)
