"""Two models share an endpoint's traffic; then the weights move.

kedge up --detach
eval "$(kedge env)"
python examples/two_variants.py
"""

import io
import tarfile
from collections import Counter

import boto3
import joblib
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

NAME = "example-variants"


def packed(model: object) -> bytes:
    """model.tar.gz with the model at its root."""
    saved, out = io.BytesIO(), io.BytesIO()
    joblib.dump(model, saved)
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        member = tarfile.TarInfo("model.joblib")
        member.size = saved.tell()
        saved.seek(0)
        archive.addfile(member, saved)
    return out.getvalue()


x, held_out, y, truth = train_test_split(*load_breast_cancer(return_X_y=True), random_state=0)
models = {
    "linear": make_pipeline(StandardScaler(), LogisticRegression()).fit(x, y),
    "tree": DecisionTreeClassifier(max_depth=4, random_state=0).fit(x, y),
}

account = boto3.client("sts").get_caller_identity()["Account"]
s3, sagemaker, runtime = boto3.client("s3"), boto3.client("sagemaker"), boto3.client("sagemaker-runtime")
bucket = f"sagemaker-{sagemaker.meta.region_name}-{account}"
for variant, model in models.items():
    key = f"{NAME}/{variant}/model.tar.gz"
    s3.put_object(Bucket=bucket, Key=key, Body=packed(model))
    sagemaker.create_model(
        ModelName=f"{NAME}-{variant}",
        ExecutionRoleArn=f"arn:aws:iam::{account}:role/kedge-execution-role",
        PrimaryContainer={"Image": "kedge/sklearn", "ModelDataUrl": f"s3://{bucket}/{key}"},
    )
sagemaker.create_endpoint_config(
    EndpointConfigName=NAME,
    ProductionVariants=[
        {
            "VariantName": variant,
            "ModelName": f"{NAME}-{variant}",
            "InitialInstanceCount": 1,
            "InstanceType": "ml.t3.medium",
            "InitialVariantWeight": weight,
        }
        for variant, weight in (("linear", 9), ("tree", 1))
    ],
)
sagemaker.create_endpoint(EndpointName=NAME, EndpointConfigName=NAME)
sagemaker.get_waiter("endpoint_in_service").wait(EndpointName=NAME)


def split() -> str:
    """Sends the held-out rows and says who answered, and how well."""
    count, right = Counter(), Counter()
    for row, label in zip(held_out, truth, strict=True):
        body = ",".join(str(value) for value in row)
        answer = runtime.invoke_endpoint(EndpointName=NAME, ContentType="text/csv", Accept="text/csv", Body=body)
        variant = answer["InvokedProductionVariant"]
        count[variant] += 1
        right[variant] += int(float(answer["Body"].read())) == label
    return ", ".join(f"{name}: {count[name]} rows, accuracy {right[name] / count[name]:.2f}" for name in sorted(count))


print("9 : 1  ", split())
weights = [{"VariantName": "linear", "DesiredWeight": 1}, {"VariantName": "tree", "DesiredWeight": 1}]
sagemaker.update_endpoint_weights_and_capacities(EndpointName=NAME, DesiredWeightsAndCapacities=weights)
sagemaker.get_waiter("endpoint_in_service").wait(EndpointName=NAME)
print("1 : 1  ", split())

# A single variant can be asked whatever the weights say.
body = ",".join(str(value) for value in held_out[0])
answer = runtime.invoke_endpoint(EndpointName=NAME, ContentType="text/csv", TargetVariant="tree", Body=body)
print("asked for tree, answered by", answer["InvokedProductionVariant"])

sagemaker.delete_endpoint(EndpointName=NAME)
sagemaker.delete_endpoint_config(EndpointConfigName=NAME)
for variant in models:
    sagemaker.delete_model(ModelName=f"{NAME}-{variant}")
