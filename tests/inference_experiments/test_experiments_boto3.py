"""An experiment from end to end: an unmodified boto3, real models, the better one promoted under traffic."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest
from botocore.exceptions import BotoCoreError, ClientError

from tests.endpoints.test_capture_boto3 import until
from tests.shadowing.test_shadow_boto3 import Shadowing


@pytest.fixture
def shadowing(kedge: Any) -> Shadowing:
    return Shadowing(kedge)


def model_variant(name: str, model: str) -> dict[str, Any]:
    hardware = {"InstanceType": "ml.t2.medium", "InstanceCount": 1}
    return {
        "ModelName": model,
        "VariantName": name,
        "InfrastructureConfig": {"InfrastructureType": "RealTimeInference", "RealTimeInferenceConfig": hardware},
    }


def scalable(variant: str) -> dict[str, str]:
    return {
        "ServiceNamespace": "sagemaker",
        "ResourceId": f"endpoint/Shadowed/variant/{variant}",
        "ScalableDimension": "sagemaker:variant:DesiredInstanceCount",
    }


def test_an_experiment_is_run_and_promoted(shadowing: Shadowing, kedge: Any):
    sagemaker, runtime = shadowing.sagemaker, shadowing.runtime
    sagemaker.create_endpoint_config(EndpointConfigName="base", ProductionVariants=[shadowing.variant("live", "same")])
    sagemaker.create_endpoint(EndpointName="Shadowed", EndpointConfigName="base")
    sagemaker.get_waiter("endpoint_in_service").wait(EndpointName="Shadowed")

    stop, failures, variants = threading.Event(), [], set()

    def clients() -> None:
        """Ask all the time: nobody must notice any of it but for who answers."""
        mine = kedge.client("sagemaker-runtime")
        while not stop.is_set():
            try:
                answer = mine.invoke_endpoint(EndpointName="Shadowed", ContentType="application/json", Body=b'{"x": 7}')
                variants.add(answer["InvokedProductionVariant"])
                assert json.loads(answer["Body"].read())["label"] == "high"
            except (BotoCoreError, ClientError, AssertionError) as error:
                failures.append(error)

    asking = threading.Thread(target=clients)
    asking.start()
    try:
        arn = sagemaker.create_inference_experiment(
            Name="Try",
            Type="ShadowMode",
            RoleArn=kedge.role_arn,
            EndpointName="Shadowed",
            ModelVariants=[model_variant("live", "same"), model_variant("shadow", "other")],
            ShadowModeConfig={
                "SourceModelVariantName": "live",
                "ShadowModelVariants": [{"ShadowModelVariantName": "shadow", "SamplingPercentage": 100}],
            },
            Tags=[{"Key": "team", "Value": "a"}],
        )["InferenceExperimentArn"]
        assert sagemaker.list_tags(ResourceArn=arn)["Tags"] == [{"Key": "team", "Value": "a"}]

        def status() -> str:
            found: str = sagemaker.describe_inference_experiment(Name="Try")["Status"]
            return found

        until(lambda: status() == "Running")
        until(lambda: (shadowing.read("ShadowMatches", "SampleCount") or 0) > 5)
        assert shadowing.read("ShadowLabelMatches", "Average") == 1.0
        assert shadowing.read("ShadowNumericDifference", "Average") == 0.5
        with pytest.raises(sagemaker.exceptions.ConflictException):
            sagemaker.delete_inference_experiment(Name="Try")
        with pytest.raises(sagemaker.exceptions.ResourceInUse):
            sagemaker.create_inference_experiment(
                Name="Try",
                Type="ShadowMode",
                RoleArn=kedge.role_arn,
                EndpointName="Shadowed",
                ModelVariants=[model_variant("shadow", "other")],
                ShadowModeConfig={
                    "SourceModelVariantName": "live",
                    "ShadowModelVariants": [{"ShadowModelVariantName": "shadow", "SamplingPercentage": 100}],
                },
            )
        scaling, target = kedge.client("application-autoscaling"), scalable("live")
        scaling.register_scalable_target(**target, MinCapacity=1, MaxCapacity=2)
        with pytest.raises(ClientError, match=r"endpoint has no such variant\. Deregister the scalable target"):
            sagemaker.stop_inference_experiment(Name="Try", ModelVariantActions={"live": "Remove", "shadow": "Promote"})
        scaling.deregister_scalable_target(**target)
        sagemaker.stop_inference_experiment(
            Name="Try",
            ModelVariantActions={"live": "Remove", "shadow": "Promote"},
            DesiredModelVariants=[model_variant("shadow", "other")],
            DesiredState="Completed",
            Reason="it is better",
        )
        until(lambda: status() == "Completed")
        until(lambda: "shadow" in variants)
    finally:
        stop.set()
        asking.join(20)
    assert failures == []
    assert variants == {"live", "shadow"}
    shown = sagemaker.describe_inference_experiment(Name="Try")
    assert shown["StatusReason"] == "it is better"
    assert [each["Status"] for each in shown["ModelVariants"]] == ["Deleted", "InService"]
    [listed] = sagemaker.list_inference_experiments(Type="ShadowMode")["InferenceExperiments"]
    assert (listed["Name"], listed["Status"]) == ("Try", "Completed")
    answer = runtime.invoke_endpoint(EndpointName="Shadowed", ContentType="application/json", Body=b'{"x": 7}')
    assert (answer["InvokedProductionVariant"], json.loads(answer["Body"].read())["score"]) == ("shadow", 7.5)
    sagemaker.delete_inference_experiment(Name="Try")
    with pytest.raises(sagemaker.exceptions.ResourceNotFound):
        sagemaker.describe_inference_experiment(Name="Try")
