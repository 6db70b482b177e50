"""What can run inside an instance. An image's name picks the runtime (`images.choose`); `load` starts it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from kedge.serving.runtimes.base import LoadError, Runtime
from kedge.serving.runtimes.images import SCRIPT, SKLEARN


def load(name: str, artifact: Path, environment: Mapping[str, str]) -> Runtime:
    """The runtime with its model loaded from the artifact's folder. Raises LoadError.

    "sklearn" serves the artifact's script when it has one, as SageMaker's image does, else its model file.
    """
    # Imported here: whoever only asks for an image's runtime shall not pay for numpy and scikit-learn.
    from kedge.serving.runtimes import script, sklearn

    if not artifact.is_dir():
        raise LoadError(f"The artifact {artifact.name} is not there.")
    if name == SCRIPT:
        return script.load(artifact, environment)
    if name == SKLEARN:
        found = script.find(artifact, environment)
        return script.load(artifact, environment) if found else sklearn.load(artifact, environment)
    raise LoadError(f"The runtime {name} is not known; there are {SKLEARN} and {SCRIPT}.")
