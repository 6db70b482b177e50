"""How a container wants batches to be sent to it: what it answers to GET /execution-parameters. PURE.

Source: "Use Your Own Inference Code with Batch Transform" in the SageMaker developer guide.
"""

from __future__ import annotations

import json
from typing import Any

BATCH = "SAGEMAKER_BATCH"
"""Variable of an instance of a transform job: "true"."""
PATH = "/execution-parameters"
CONCURRENCY, PAYLOAD_MB, STRATEGY = "MaxConcurrentTransforms", "MaxPayloadInMB", "BatchStrategy"
STRATEGIES = {"MULTI_RECORD": "MultiRecord", "SINGLE_RECORD": "SingleRecord"}
"""From a container's names to those of CreateTransformJob."""
MOST_CONCURRENT, MOST_PAYLOAD_MB = 100, 100

Hints = dict[str, Any]


def hints_of(said: object) -> Hints:
    """What of it can be followed, BatchStrategy as CreateTransformJob names it. said: a value, or JSON as text."""
    if isinstance(said, str | bytes):
        try:
            said = json.loads(said)
        except (ValueError, RecursionError):
            return {}
    if not isinstance(said, dict):
        return {}
    found: Hints = {}
    for name, least, most in ((CONCURRENCY, 1, MOST_CONCURRENT), (PAYLOAD_MB, 0, MOST_PAYLOAD_MB)):
        value = said.get(name)
        if isinstance(value, int) and not isinstance(value, bool) and least <= value <= most:
            found[name] = value
    strategy = said.get(STRATEGY)
    if isinstance(strategy, str) and (named := STRATEGIES.get(strategy, strategy)) in STRATEGIES.values():
        found[STRATEGY] = named
    return found
