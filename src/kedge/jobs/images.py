"""What runs where a processing or training job names an image. PURE.

Some repositories stand for what Kedge has itself, whatever registry and tag stand before and behind them: modules that
do what the image does, and images of frameworks, whose scripts run under this machine's Python.
Source of the names: image_uris of the SageMaker Python SDK.
"""

from __future__ import annotations

from kedge.serving.runtimes import images

PYTHON, CONTAINER, COMMAND = "python", "container", "command"
"""COMMAND: the one to which the setting `images` maps it."""
CLARIFY = "kedge.monitoring.clarify"
MODULES = {
    "sagemaker-model-monitor-analyzer": "kedge.monitoring.analyzer",
    "sagemaker-model-monitor-groundtruth-merger": "kedge.monitoring.merger",
    "sagemaker-clarify-processing": CLARIFY,
}
_FRAMEWORKS = (
    *("sagemaker-scikit-learn", "sagemaker-xgboost", "pytorch-training", "pytorch-inference", "sagemaker-pytorch"),
    *("huggingface-pytorch-training", "huggingface-pytorch-inference", "pytorch-training-arm64"),
)


def repository(image: str) -> str:
    """The last part of its name, without tag and digest."""
    return image.partition("@")[0].rpartition("/")[2].partition(":")[0]


def choose(image: str, *, has_engine: bool, mapped: bool = False) -> str:
    """A module of Kedge's, PYTHON, CONTAINER or COMMAND; "" for an image that nothing here runs.

    has_engine: whether podman or docker is there. mapped: whether the operator maps it to a command, which counts also
    for images that Kedge knows.
    """
    if mapped:
        return COMMAND
    name = repository(image)
    if name in MODULES:
        return MODULES[name]
    if name in _FRAMEWORKS or (images.choose(image) is not None and image.startswith("kedge/")):
        return PYTHON
    return CONTAINER if has_engine and images.is_reference(image) else ""


def is_module(runs: str) -> bool:
    return runs in MODULES.values()


def known() -> list[str]:
    """For messages."""
    return [*MODULES, *_FRAMEWORKS, "kedge/script"]
