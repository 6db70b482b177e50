"""Which runtime an image URI stands for, and which version of its framework. PURE.

Kedge pulls no image for these: the names of the public SageMaker images pick the runtime that keeps the same contract.
Source of the names and tags: image_uris of the SageMaker Python SDK; the repositories are the same in every partition.
"""

from __future__ import annotations

import re

from kedge.compute.base import CONTAINER as CONTAINER
from kedge.compute.base import SERVER as SERVER

SKLEARN = "sklearn"
SCRIPT = "script"
XGBOOST = "xgboost"
LIGHTGBM = "lightgbm"
CATBOOST = "catboost"
ONNX = "onnx"
TORCH = "torch"
MLFLOW = "mlflow"
HUGGINGFACE = "huggingface"
OWN_SERVERS = (SERVER, CONTAINER)
"""A server that is not Kedge's answers: a command that runs as a process, or an image that podman or docker runs."""

FRAMEWORKS = {
    SKLEARN: "scikit-learn",
    XGBOOST: "xgboost",
    LIGHTGBM: "lightgbm",
    CATBOOST: "catboost",
    ONNX: "onnxruntime",
    TORCH: "torch",
    MLFLOW: "mlflow",
    HUGGINGFACE: "torch",
}
"""The package on an index whose version an image's tag names."""
_OWN_NAMES = (SKLEARN, SCRIPT, XGBOOST, LIGHTGBM, CATBOOST, ONNX, TORCH, MLFLOW, SERVER)
_OWN = {f"kedge/{name}": name for name in _OWN_NAMES}
_REPOSITORIES = {
    "sagemaker-scikit-learn": SKLEARN,
    "sagemaker-xgboost": XGBOOST,
    "xgboost": XGBOOST,
    "pytorch-inference": TORCH,
    "pytorch-inference-graviton": TORCH,
    "pytorch-inference-arm64": TORCH,
    "sagemaker-pytorch": TORCH,
    "huggingface-pytorch-inference": HUGGINGFACE,
    "mlflow-pyfunc": MLFLOW,
}
_UNVERSIONED = ("xgboost",)
"""Its tags count releases of the image (1, latest), not of XGBoost."""
_REFERENCE = r"(?::([\w][\w.-]{0,127}))?(?:@sha256:[0-9a-f]{64})?"
_OWN_IMAGE = re.compile(rf"(kedge/[a-z]+){_REFERENCE}")
_REGISTRY_IMAGE = re.compile(
    r"\d{12}\.dkr\.ecr(?:-fips)?\.[a-z]{2,4}(?:-[a-z]+)+-\d+\."
    r"(?:amazonaws\.com|amazonaws\.com\.cn|amazonaws\.eu|c2s\.ic\.gov|sc2s\.sgov\.gov|cloud\.adc-e\.uk|csp\.hci\.ic\.gov)"
    rf"/([a-z0-9][a-z0-9._/-]*){_REFERENCE}"
)
_REFERENCE_OF_ANY = re.compile(
    rf"(?:[a-zA-Z0-9][a-zA-Z0-9.-]*(?::\d{{1,5}})?/)?[a-z0-9]+(?:[._/-]+[a-z0-9]+)*{_REFERENCE}"
)
"""Nearly the grammar of references: what fits is handed to the engine, which has the last word."""
_VERSION = re.compile(r"(\d+\.\d+(?:\.\d+)*)(?:-|$)")


def choose(image: str) -> str | None:
    """The runtime's name, or None for an image that Kedge does not know. Account, region and tag do not matter."""
    if own := _OWN_IMAGE.fullmatch(image):
        return _OWN.get(own[1])
    if public := _REGISTRY_IMAGE.fullmatch(image):
        return _REPOSITORIES.get(public[1])
    return None


def is_reference(image: str) -> bool:
    """Whether an engine for containers could take it for the name of an image."""
    return _REFERENCE_OF_ANY.fullmatch(image) is not None and not image.startswith("kedge/")


def known_images() -> list[str]:
    """The images that `choose` knows, as an error text names them."""
    return [*_OWN, *(f"ACCOUNT.dkr.ecr.REGION.amazonaws.com/{name}:TAG" for name in _REPOSITORIES)]


def framework_version(image: str) -> str:
    """The version of the framework that the image's tag names, such as "1.2"; "" when it names none."""
    found = _OWN_IMAGE.fullmatch(image) or _REGISTRY_IMAGE.fullmatch(image)
    if found is None or choose(image) is None or found[1] in _UNVERSIONED:
        return ""
    version = _VERSION.match(found[2] or "")
    return version[1] if version else ""


def version_note(image: str, installed: str) -> str:
    """A sentence when the framework that runs is of another version than the image's tag says; "" when it is not.

    installed: the framework's version in the instance's environment; "" when it is not installed.
    """
    wanted, framework = framework_version(image), FRAMEWORKS.get(choose(image) or "", "")
    if not wanted or not installed or not framework:
        return ""
    numbers = wanted.split(".")
    if re.split(r"[.+]", installed)[: len(numbers)] == numbers:
        return ""
    name = image.rpartition("/")[2].partition("@")[0]
    return (
        f"The image {name} stands for {framework} {wanted}; this is {framework} {installed}, so results may differ. "
        f"{pinning(framework, wanted)}"
    )


def pinning(framework: str, version: str) -> str:
    """How to run a model by the version of the framework that wrote it, as a sentence. version: "" when not known."""
    pin, when = f"{framework}=={_series(version)}", "To run that version"
    if not version:
        pin, when = f"{framework}==VERSION", "If another version wrote it"
    return (
        f"{when}, put {pin} into the archive's code/requirements.txt, or map the image to an environment in "
        "KEDGE_ENVIRONMENTS."
    )


def _series(version: str) -> str:
    numbers = version.split(".")
    return f"{version}.*" if len(numbers) < 3 else version
