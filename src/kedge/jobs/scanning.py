"""The metrics of a training job, found in its output by the regular expressions of its MetricDefinitions.

    python -m kedge.jobs.scanning FILE < DEFINITIONS

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
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

WITHIN_S = 30.0
CPU_S = 20
LONGEST_LINE_BYTES = 64 * 1024
_KEPT = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "VIRTUAL_ENV")

log = logging.getLogger(__name__)


def last_values(lines: Iterable[str], definitions: Sequence[Mapping[str, str]]) -> dict[str, float]:
    """By metric the number in the first group of the last match. Of what is no expression there is none."""
    patterns = {}
    for each in definitions:
        with contextlib.suppress(re.error):
            patterns[each["Name"]] = re.compile(each["Regex"])
    found = {}
    for line in lines:
        for name, pattern in patterns.items():
            for match in pattern.finditer(line):
                with contextlib.suppress(ValueError, IndexError, TypeError):
                    found[name] = float(match.group(1))
    return {name: value for name, value in found.items() if value == value and abs(value) != float("inf")}


async def scan(path: Path, definitions: Sequence[Mapping[str, str]]) -> dict[str, float]:
    """What `last_values` finds in the file; nothing where that takes too long."""
    environment = {name: value for name, value in os.environ.items() if name in _KEPT or name.startswith("PYTHON")}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "kedge.jobs.scanning", str(path)),
        env=environment,
        cwd="/",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(WITHIN_S):
            said, _ = await process.communicate(json.dumps(list(definitions)).encode())
        found = json.loads(said)
    except (TimeoutError, ValueError, OSError) as error:
        log.warning("the metrics of %s were not found: %s", path.parent.name, error or "it took too long")
        return {}
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    return {str(name): float(value) for name, value in found.items()}


def _lines(path: Path) -> Iterable[str]:
    with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
        while line := file.readline(LONGEST_LINE_BYTES):
            yield line.lstrip(b"\0").decode(errors="replace")


def main() -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S))
    print(json.dumps(last_values(_lines(Path(sys.argv[1])), json.load(sys.stdin))))  # noqa: T201


if __name__ == "__main__":
    main()
