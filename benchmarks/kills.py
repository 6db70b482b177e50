"""200 requests a second for 60 s while the control process is killed 5 times; the clients never retry.

    python -m benchmarks.kills [--seconds 60] [--rate 200] [--role control] [--kills 5]

Run in the checkout's root. Every answer is checked. Prints how many came, and every error that a client saw.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.faults.conftest import Load, Server, until


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--rate", type=float, default=200.0)
    parser.add_argument("--role", default="control", choices=["control", "router", "instance", "forkserver"])
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--instances", type=int, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="kedge-bench-") as folder:
        server = Server(Path(folder) / "data").up()
        try:
            server.endpoint("steady", instances=options.instances)
            start = time.monotonic()
            with Load(server, "steady", rate_per_s=options.rate) as load:
                for number in range(options.kills):
                    due = start + options.seconds * (number + 0.5) / options.kills
                    time.sleep(max(0.0, due - time.monotonic()))
                    before = server.pids(options.role)
                    server.kill(options.role)
                    until(lambda before=before: set(server.pids(options.role)) - set(before), what="a new process")
                time.sleep(max(0.0, start + options.seconds - time.monotonic()))
            seconds = time.monotonic() - start
        finally:
            server.down()
    print(
        f"{load.answers} answers in {seconds:.1f} s, {options.kills} kills of {options.role}, {len(load.errors)} errors"
    )
    for error, count in Counter(load.errors).most_common(5):
        print(f"{count:6} {error}")


if __name__ == "__main__":
    main()
