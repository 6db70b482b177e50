"""Whether anything that is measured gets lost, or counted twice, while processes are killed: 20 times in a row each.

    scripts/bench metric_kills [--kills 20] [--role control --role router ...] [--every 1.5] [--connections 8]

Under load, every so often all processes of a role get SIGKILL: control, router, supervisor (and the next `kedge up`
takes over what still runs), or everything at once. Meanwhile three clients put metrics, with a ledger of their own that
is synced to the disk after each answer, and some connections invoke an endpoint and count their good answers. In the
end every acknowledged datapoint has to be readable once, and the invocations counted have to be the clients' own. A
request that was counted just before the kill, and whose answer did not come any more, makes them more: of each
connection one at most for each kill.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import tempfile
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.faults.clients import Clients, role_pids
from tests.faults.conftest import Server, until
from tests.faults.hosted import GOOD, running
from tests.faults.ledgers import Puts, back, settled

ROLES = ("control", "router", "supervisor", "everything")
PUTTERS = 3
READY_S = 60.0


@dataclass
class Seen:
    role: str
    kills: int
    acknowledged: int
    """Datapoints."""
    lost: int
    twice: int
    refused_calls: int
    answers: int
    counted: int
    failed: int
    """Requests that a client saw fail."""


def kill(server: Server, role: str) -> None:
    """And until it is there again."""
    if role == "everything":
        server.kill_everything()
        server.up()
    elif role == "supervisor":
        os.kill(json.loads((server.data / "run.json").read_bytes())["supervisor"]["pid"], signal.SIGKILL)
        server.reap()
        server.up()
    else:
        pids = set(role_pids(server, role).values())
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        back(server, role, pids)
    until(lambda: server.client("cloudwatch").list_metrics(), READY_S, "control's answer")


def run(server: Server, role: str, kills: int, every_s: float, connections: int, folder: Path) -> Seen:
    before = settled(server, GOOD)
    putters = [Puts(server, f"{role}-{n}", folder / f"{role}-{n}") for n in range(PUTTERS)]
    with ExitStack() as stack:
        clients = stack.enter_context(Clients(server, GOOD, connections, adds=10))
        for each in putters:
            stack.enter_context(each)
        for _ in range(kills):
            time.sleep(every_s)
            kill(server, role)
    acknowledged = lost = twice = 0
    for each in putters:
        told = each.acknowledged()
        acknowledged += len(told) * each.series
        for series in range(each.series):
            kept = each.kept(series)
            lost += len(told - kept.keys())
            twice += sum(count != 1.0 or total != float(number) for number, (count, total) in kept.items())
    counted = settled(server, GOOD) - before
    refused = sum(each.failures for each in putters)
    return Seen(role, kills, acknowledged, lost, twice, refused, clients.answers, counted, len(clients.failures))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--role", action="append", choices=ROLES)
    parser.add_argument("--every", type=float, default=1.5, help="seconds of load before each kill")
    parser.add_argument("--connections", type=int, default=8)
    options = parser.parse_args()
    print(
        f"{'killed':12}{'kills':>6}{'datapoints':>12}{'lost':>6}{'twice':>7}{'calls failed':>14}"
        f"{'answers':>10}{'counted':>10}{'more':>6}{'less':>6}{'requests failed':>17}",
        flush=True,
    )
    with tempfile.TemporaryDirectory(prefix="kedge-bench-") as name:
        folder = Path(name)
        for role in options.role or ROLES:
            (folder / role).mkdir()
            with running(folder / role) as server:
                seen = run(server, role, options.kills, options.every, options.connections, folder)
            more, less = max(0, seen.counted - seen.answers), max(0, seen.answers - seen.counted)
            print(
                f"{seen.role:12}{seen.kills:6}{seen.acknowledged:12,}{seen.lost:6}{seen.twice:7}{seen.refused_calls:14,}"
                f"{seen.answers:10,}{seen.counted:10,}{more:6}{less:6}{seen.failed:17,}",
                flush=True,
            )


if __name__ == "__main__":
    main()
