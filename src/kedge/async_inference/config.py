"""AsyncInferenceConfig: the rules that its shape cannot say, and what follows from it. PURE."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kedge.errors import ValidationFailed
from kedge.objects import address

MEMBER = "AsyncInferenceConfig"
DEFAULT_CONCURRENCY = 4
"""Invocations at once on one instance, where the config leaves it open: SageMaker then chooses by itself."""
MOST_CONCURRENCY = 200
"""Of what a config may ask for, up to 1000: each has a connection of its own, and an instance takes 256."""

Config = Mapping[str, Any]


@dataclass(frozen=True)
class Output:
    """Where results go and who is told."""

    path: str
    failure_path: str = ""
    """"" where failures leave no object."""
    kms_key: str = ""
    success_topic: str = ""
    error_topic: str = ""
    included_in: frozenset[str] = frozenset()
    """SUCCESS_NOTIFICATION_TOPIC, ERROR_NOTIFICATION_TOPIC: messages that hold the response, too."""


def check(config: Config | None) -> None:
    """Raises ValidationFailed."""
    if config is None:
        return
    output = config["OutputConfig"]
    if not output.get("S3OutputPath"):
        raise ValidationFailed(f"{MEMBER}.OutputConfig has no S3OutputPath; without one there is no place for results.")
    for member in ("S3OutputPath", "S3FailurePath"):
        if not output.get(member):
            continue
        try:
            address.parse(output[member])
        except ValueError as error:
            raise ValidationFailed(f'{MEMBER}.OutputConfig.{member} is "{output[member]}"; {error}.') from None
    topics = output.get("NotificationConfig", {})
    for place, member in (("SUCCESS_NOTIFICATION_TOPIC", "SuccessTopic"), ("ERROR_NOTIFICATION_TOPIC", "ErrorTopic")):
        if place in topics.get("IncludeInferenceResponseIn", ()) and not topics.get(member):
            raise ValidationFailed(f"IncludeInferenceResponseIn has {place}, but there is no {member}.")


def output_of(config: Config) -> Output:
    given = config["OutputConfig"]
    topics = given.get("NotificationConfig", {})
    return Output(
        path=given["S3OutputPath"],
        failure_path=given.get("S3FailurePath", ""),
        kms_key=given.get("KmsKeyId", ""),
        success_topic=topics.get("SuccessTopic", ""),
        error_topic=topics.get("ErrorTopic", ""),
        included_in=frozenset(topics.get("IncludeInferenceResponseIn", ())),
    )


def concurrency_of(config: Config) -> int:
    """How many invocations one instance has at once."""
    wanted = config.get("ClientConfig", {}).get("MaxConcurrentInvocationsPerInstance", DEFAULT_CONCURRENCY)
    return min(int(wanted), MOST_CONCURRENCY)
