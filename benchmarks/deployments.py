"""Every kind of deployment at 300 requests a second, and a canary that an alarm takes back.

    scripts/bench deployments [--rate 300] [--instances 2] [--wait 3] [--bad 3] [--seconds-before 1] [--kill-control]

An open loop over 64 keep-alive connections that never retry, each request timed from the moment at which it was due.
The bad model raises on a fifth of its requests; an alarm of ten seconds, one datapoint of one, watches the canary. What
is timed there is from the first answer that failed to the last one that the canary gave. With --kill-control the
control process is ended by SIGKILL once in each phase of each deployment.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from tests.faults.clients import percentile
from tests.faults.conftest import Server
from tests.faults.deploying import Killer, at_rest, blue_green, config, create, guarded, policies, size, update
from tests.faults.pacing import Paced


def healthy(server: Server, kind: str, options: argparse.Namespace) -> None:
    name = f"to-{kind.replace(' ', '-')}"
    config(server, name, options.instances)
    config(server, f"{name}-new", options.instances)
    create(server, name, name)
    killer = Killer(server)
    with Paced(server, name, options.rate) as load:
        time.sleep(options.seconds_before)
        began_s = time.monotonic()
        update(server, name, f"{name}-new", policies(options.wait)[kind])
        found = at_rest(server, name, killer.saw if options.kill_control else lambda _: None, within_s=120)
        took_s = time.monotonic() - began_s
        time.sleep(options.seconds_before)
    assert found["EndpointConfigName"] == f"{name}-new", found
    took = [each.took_s for each in load.answers]
    print(
        f"{kind:12} {len(took):6} requests, {len(load.failures)} failed, p50 {percentile(took, 0.5) * 1000:.1f} ms, "
        f"p99.9 {percentile(took, 0.999) * 1000:.0f} ms, longest {max(took) * 1000:.0f} ms; deployed in {took_s:.1f} s"
        f"{f', control killed {len(killer.phases)} times' if options.kill_control else ''}",
        flush=True,
    )
    server.client("sagemaker").delete_endpoint(EndpointName=name)


def bad(server: Server, number: int, options: argparse.Namespace) -> float:
    """Seconds from the first failure to the last answer of the canary."""
    good, worse = f"good-{number}", f"bad-{number}"
    config(server, good, options.instances)
    config(server, worse, options.instances)
    create(server, good, good)
    policy = guarded(server, good, worse, blue_green("CANARY", 600, 0, CanarySize=size(10)))
    with Paced(server, good, options.rate) as load:
        update(server, good, worse, policy)
        found = at_rest(server, good, within_s=120)
        time.sleep(options.seconds_before)
    assert found["EndpointConfigName"] == good, found
    failed = [each for each in load.answers if each.status != 200]
    canary = [*failed, *(each for each in load.answers if each.body == worse.encode())]
    other = [each for each in failed if each.status != 424]
    back_s = max(each.due_s + each.took_s for each in canary) - min(each.due_s + each.took_s for each in failed)
    print(
        f"bad canary   {len(load.answers):6} requests, {len(canary)} to the canary, {len(failed)} failed "
        f"({len(other)} of them not in the model); back on the old fleet {back_s:.1f} s after the first failure",
        flush=True,
    )
    server.client("sagemaker").delete_endpoint(EndpointName=good)
    return back_s


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=300.0)
    parser.add_argument("--instances", type=int, default=2)
    parser.add_argument("--wait", type=int, default=3, help="seconds that each step bakes")
    parser.add_argument("--bad", type=int, default=3, help="how often the bad canary is deployed")
    parser.add_argument("--seconds-before", type=float, default=1.0)
    parser.add_argument("--kill-control", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="kedge-bench-") as folder, ExitStack() as stack:
        server = Server(Path(folder) / "data").up()
        stack.callback(server.down)
        for kind in policies():
            healthy(server, kind, options)
        backs = [bad(server, number, options) for number in range(options.bad)]
        if backs:
            print(f"from the first failure back: median {statistics.median(backs):.1f} s, longest {max(backs):.1f} s")


if __name__ == "__main__":
    main()
