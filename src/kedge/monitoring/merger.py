"""The program of the image sagemaker-model-monitor-groundtruth-merger; ours: merged records as a training set."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from kedge.monitoring.places import Places
from kedge.monitoring.program import ended


def main(environment: Mapping[str, str], opt_ml: Path = Path("/opt/ml")) -> int:
    """The exit code; how much was merged, or why the job failed, is in /opt/ml/output/message and its log."""
    of_rows = environment.get("kedge_training_rows") == "Enabled"
    return ended(Places(environment, opt_ml), "merging.training_rows" if of_rows else "merging.job")


if __name__ == "__main__":
    sys.exit(main(os.environ))
