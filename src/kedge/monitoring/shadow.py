"""A copy of a model to ask, beside the endpoint that clients use, for as long as a job asks."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from kedge.monitoring.clarify_config import Predictor
from kedge.monitoring.predicting import Invoke, PredictionFailed

START_TIMEOUT_S = 900.0
_LOOK_S = 0.5
_KEPT_OF_A_NAME = 40


@contextmanager
def reached(predictor: Predictor, say: Callable[[str], None]) -> Iterator[Invoke]:
    """An endpoint that is there, or one of the model that is made now and deleted afterwards.

    say: to the job's log. AWS_ENDPOINT_URL, region and keys are the job's. Raises PredictionFailed where the model
    cannot be asked.
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
        name = f"{(predictor.endpoint_name_prefix or 'clarify')[:_KEPT_OF_A_NAME]}-{uuid.uuid4().hex[:12]}"
        try:
            _start(sagemaker, predictor, name)
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


def _start(sagemaker: Any, predictor: Predictor, name: str) -> None:
    variant = {
        "VariantName": "AllTraffic",
        "ModelName": predictor.model_name,
        "InstanceType": predictor.instance_type,
        "InitialInstanceCount": predictor.initial_instance_count,
    }
    sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant])
    sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)
    until = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < until:
        found = sagemaker.describe_endpoint(EndpointName=name)
        if found["EndpointStatus"] == "InService":
            return
        if found["EndpointStatus"] != "Creating":
            raise PredictionFailed(
                f"The copy of {predictor.model_name} did not start: {found.get('FailureReason', '')}"
            )
        time.sleep(_LOOK_S)
    raise PredictionFailed(f"The copy of {predictor.model_name} did not start within {START_TIMEOUT_S:.0f} s.")


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
