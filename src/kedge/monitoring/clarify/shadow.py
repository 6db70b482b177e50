"""A copy of a model to ask, beside the endpoint that clients use, for as long as a job asks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from kedge.monitoring.clarify import shadow_name
from kedge.monitoring.clarify.config import Predictor
from kedge.monitoring.clarify.predicting import Invoke, PredictionFailed

START_TIMEOUT_S = 900.0
_LOOK_S = 0.5


@contextmanager
def reached(predictor: Predictor, job_arn: str, say: Callable[[str], None]) -> Iterator[Invoke]:
    """An endpoint that is there, or one of the model that is made now and deleted afterwards.

    job_arn: of the job that asks. say: to its log. AWS_ENDPOINT_URL, region and keys are the job's. Raises
    PredictionFailed where the model cannot be asked.
    """
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        runtime = boto3.client("sagemaker-runtime", config=Config(read_timeout=70, retries={"max_attempts": 3}))
        if predictor.endpoint_name:
            yield _invoke(runtime, predictor.endpoint_name)
            return
        sagemaker = boto3.client("sagemaker")
        name = shadow_name.name(predictor.endpoint_name_prefix, job_arn)
        try:
            _start(sagemaker, predictor, name, job_arn)
            yield _invoke(runtime, name)
        finally:
            _delete(sagemaker, name, say)
    except (BotoCoreError, ClientError) as error:
        raise PredictionFailed(
            f"The model {predictor.model_name or predictor.endpoint_name} cannot be asked: {error}"
        ) from None


def _invoke(runtime: Any, endpoint: str) -> Invoke:
    def invoke(body: bytes, kind: str, accept: str) -> tuple[bytes, str]:
        answer = runtime.invoke_endpoint(EndpointName=endpoint, Body=body, ContentType=kind, Accept=accept)
        return answer["Body"].read(), answer.get("ContentType", "")

    return invoke


def _start(sagemaker: Any, predictor: Predictor, name: str, job_arn: str) -> None:
    """Or takes up the one that this job has made when it was begun before."""
    variant = {
        "VariantName": "AllTraffic",
        "ModelName": predictor.model_name,
        "InstanceType": predictor.instance_type,
        "InitialInstanceCount": predictor.initial_instance_count,
    }
    tags = [{"Key": shadow_name.TAG, "Value": job_arn}]
    until = time.monotonic() + START_TIMEOUT_S
    found: dict[str, Any] = {}
    while time.monotonic() < until:
        _once(sagemaker.create_endpoint_config, EndpointConfigName=name, ProductionVariants=[variant], Tags=tags)
        _once(sagemaker.create_endpoint, EndpointName=name, EndpointConfigName=name, Tags=tags)
        found = sagemaker.describe_endpoint(EndpointName=name)
        while found["EndpointStatus"] == "Creating" and time.monotonic() < until:
            time.sleep(_LOOK_S)
            found = sagemaker.describe_endpoint(EndpointName=name)
        if found["EndpointStatus"] == "InService":
            return
        if found["EndpointStatus"] == "Failed":
            raise PredictionFailed(
                f"The copy of {predictor.model_name} did not start: {found.get('FailureReason', '')}"
            )
        time.sleep(_LOOK_S)  # the one before is going
    raise PredictionFailed(f"The copy of {predictor.model_name} did not start within {START_TIMEOUT_S:.0f} s.")


def _once(create: Callable[..., Any], **request: Any) -> None:
    """Unless it is there already, from a begin of this job before this one."""
    from botocore.exceptions import ClientError

    try:
        create(**request)
    except ClientError as error:
        if "already existing" not in str(error):
            raise


def _delete(sagemaker: Any, name: str, say: Callable[[str], None]) -> None:
    from botocore.exceptions import ClientError

    for delete, key in (
        (sagemaker.delete_endpoint, "EndpointName"),
        (sagemaker.delete_endpoint_config, "EndpointConfigName"),
    ):
        try:
            delete(**{key: name})
        except ClientError as error:
            say(f"The copy {name} of the model was not deleted: {error}")
