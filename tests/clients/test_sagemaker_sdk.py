"""SageMaker Python SDK, 2 and 3: deploy, predict, update and delete; jobs; monitors."""

from __future__ import annotations

import pytest


@pytest.mark.parametrize(
    "what",
    [
        *("sklearn", "plain", "folder", "xgboost", "multi", "pipeline", "registry", "asynchronous"),
        *("components", "batch", "processing", "training"),
    ],
)
def test_sdk_2(machine, artifacts, what):
    machine.program("sagemaker-2", "sdk2", what, artifacts)


@pytest.mark.parametrize("what", ["core", "builder", "processing", "trainer"])
def test_sdk_3(machine, artifacts, what):
    machine.program("sagemaker-3", "sdk3", what, artifacts)


@pytest.mark.parametrize("sdk", ["2", "3"])
def test_monitors(machine, sdk):
    """All four over http. Over https the one that a user begins with: the SDK waits five seconds between two looks."""
    machine.program(f"sagemaker-{sdk}", "monitors", sdk, "all" if machine.scheme == "http" else "data")


@pytest.mark.parametrize("sdk", ["2", "3"])
def test_monitors_of_batch_transforms(machine, sdk):
    if machine.scheme == "https":
        pytest.skip("The calls are those of the monitors of endpoints, which are made over https too.")
    machine.program(f"sagemaker-{sdk}", "monitors", sdk, "batches")
