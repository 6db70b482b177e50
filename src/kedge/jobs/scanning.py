"""The metrics of a training job, found in lines of its log by the regular expressions of its MetricDefinitions.

    python -m kedge.jobs.scanning < QUESTION

An expression may take for ever, so they are tried in a process of its own, which has some seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import re
import resource
import sys
from collections.abc import Mapping, Sequence

WITHIN_S = 30.0
CPU_S = 20
MOST_FOUND = 50_000
"""Values of one question."""
_KEPT = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "VIRTUAL_ENV")

Found = tuple[int, str, float]
"""(place of the line, metric, value)."""

log = logging.getLogger(__name__)


def values(lines: Sequence[str], definitions: Sequence[Mapping[str, str]]) -> list[Found]:
    """The numbers in the first group of each match, in the order of lines. Of what is no expression there is none."""
    patterns = []
    for each in definitions:
        with contextlib.suppress(re.error):
            patterns.append((each["Name"], re.compile(each["Regex"])))
    found: list[Found] = []
    for place, line in enumerate(lines):
        for name, pattern in patterns:
            for match in pattern.finditer(line):
                with contextlib.suppress(ValueError, IndexError, TypeError):
                    value = float(match.group(1))
                    if value == value and abs(value) != float("inf"):
                        found.append((place, name, value))
        if len(found) >= MOST_FOUND:
            break
    return found[:MOST_FOUND]


async def scan(lines: Sequence[str], definitions: Sequence[Mapping[str, str]]) -> list[Found] | None:
    """What `values` finds; None where that takes too long."""
    environment = {name: value for name, value in os.environ.items() if name in _KEPT or name.startswith("PYTHON")}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "kedge.jobs.scanning"),
        env=environment,
        cwd="/",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(WITHIN_S):
            said, _ = await process.communicate(json.dumps([list(lines), list(definitions)]).encode())
        found = json.loads(said)
    except (TimeoutError, ValueError, OSError) as error:
        log.warning("metrics were not looked for: %s", error or "it took too long")
        return None
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    return [(int(place), str(name), float(value)) for place, name, value in found]


def main() -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))
    print(json.dumps(values(*json.load(sys.stdin))))  # noqa: T201


if __name__ == "__main__":
    main()
