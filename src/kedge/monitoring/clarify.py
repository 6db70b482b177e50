"""The program of the image sagemaker-clarify-processing."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from kedge.monitoring.places import Places
from kedge.monitoring.program import ended

if TYPE_CHECKING:
    from kedge.monitoring.predicting import Invoke


def main(environment: Mapping[str, str], opt_ml: Path = Path("/opt/ml"), invoke: Invoke | None = None) -> int:
    """The exit code; what the job found, or why it failed, is in /opt/ml/output/message and its log.

    invoke: asks the model that the configuration's predictor names; None: by its endpoint, or an own copy of it.
    """
    return ended(Places(environment, opt_ml), "clarify_job", invoke)


if __name__ == "__main__":
    sys.exit(main(os.environ))
