"""The program of the image sagemaker-clarify-processing: bias and explanations of a data set or of a monitor's window.

`config` reads analysis_config.json, `data` the rows, `predicting` asks a model, which is a copy of its own (`shadow`);
`bias` and `explain` are the analyses, `report` the page, `job` runs them all.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from kedge.monitoring.places import Places
from kedge.monitoring.program import ended

if TYPE_CHECKING:
    from kedge.monitoring.clarify.predicting import Invoke


def main(environment: Mapping[str, str], opt_ml: Path = Path("/opt/ml"), invoke: Invoke | None = None) -> int:
    """The exit code; what the job found, or why it failed, is in /opt/ml/output/message and its log.

    invoke: asks the model that the configuration's predictor names; None: by its endpoint, or an own copy of it.
    """
    return ended(Places(environment, opt_ml), "clarify.job", invoke)
