"""Which runtime an image URI stands for. PURE.

Kedge pulls no image: the names of the public SageMaker images pick the runtime that keeps the same contract.
Source of the names: image_uris of the SageMaker Python SDK (repository sagemaker-scikit-learn in every partition).
"""

from __future__ import annotations

import re

SKLEARN = "sklearn"
SCRIPT = "script"

_OWN = {"kedge/sklearn": SKLEARN, "kedge/script": SCRIPT}
_REPOSITORIES = {"sagemaker-scikit-learn": SKLEARN}
_REFERENCE = r"(?::[\w][\w.-]{0,127})?(?:@sha256:[0-9a-f]{64})?"
_OWN_IMAGE = re.compile(rf"(kedge/[a-z]+){_REFERENCE}")
_REGISTRY_IMAGE = re.compile(
    r"\d{12}\.dkr\.ecr(?:-fips)?\.[a-z]{2,4}(?:-[a-z]+)+-\d+\."
    r"(?:amazonaws\.com|amazonaws\.com\.cn|amazonaws\.eu|c2s\.ic\.gov|sc2s\.sgov\.gov|cloud\.adc-e\.uk|csp\.hci\.ic\.gov)"
    rf"/([a-z0-9][a-z0-9._/-]*){_REFERENCE}"
)


def choose(image: str) -> str | None:
    """The runtime's name, or None for an image that Kedge does not know. Account, region and tag do not matter."""
    if own := _OWN_IMAGE.fullmatch(image):
        return _OWN.get(own[1])
    if public := _REGISTRY_IMAGE.fullmatch(image):
        return _REPOSITORIES.get(public[1])
    return None


def known_images() -> list[str]:
    """The images that `choose` knows, as an error text names them."""
    return [*_OWN, *(f"ACCOUNT.dkr.ecr.REGION.amazonaws.com/{name}:TAG" for name in _REPOSITORIES)]
