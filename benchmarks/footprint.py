"""What Kedge holds in memory, and what it does while nobody asks it anything.

    scripts/bench footprint [--quick]

Memory is the proportional set size of the server's whole process tree: of each role of an idle server, for an instance
more of one endpoint, for an endpoint more of the same model. CPU is that of an idle platform with 20 endpoints. Then a
router alone, connected to an instance of each of 1, 100 and 1,000 endpoints.
"""

from __future__ import annotations

import argparse
import io
import time
from collections import defaultdict
from pathlib import Path

import joblib
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.serving import machine, own
from benchmarks.serving.own import Artifact, Setup
from benchmarks.serving.own_router import RouterAlone

SETTLE_S = 2.0
ROOMY = Setup(settings={"KEDGE_CPU_OVERCOMMIT": "64", "KEDGE_MEMORY_OVERCOMMIT": "64"})
"""The instances of the benchmark claim more than a small machine lends."""
ROLES = {
    "kedge": "supervisor",
    "kedge.app": "control",
    "kedge.serving.router": "router",
    "kedge.compute.forkserver": "fork servers and instances",
    "kedge.compute.keeper": "keepers of sandboxes",
}


def small() -> Artifact:
    """A scaler and a logistic regression: a few kilobytes."""
    out = io.BytesIO()
    joblib.dump(make_pipeline(StandardScaler(), LogisticRegression()).fit(*load_breast_cancer(return_X_y=True)), out)
    return Artifact({"model.joblib": out.getvalue()}, "kedge/sklearn", "sklearn")


def by_role(tree: machine.Tree) -> dict[str, float]:
    """MiB of each role."""
    found: dict[str, float] = defaultdict(float)
    for pid in tree.members():
        found[_role(pid)] += machine.memory_mib([pid])
    return dict(found)


def _role(pid: int) -> str:
    try:
        command = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    except OSError:
        return "gone"
    return next((role for module, role in ROLES.items() if module in command), Path(command[0]).name or "kernel")


def memory_mib(tree: machine.Tree) -> float:
    time.sleep(SETTLE_S)
    return machine.memory_mib(tree.members())


def say(what: str, seen: float, unit: str, bar: str = "") -> None:
    print(f"{what:60} {seen:9.2f} {unit}{f'  bar {bar}' if bar else ''}", flush=True)


def grown(more: int) -> None:
    """What an instance more takes, in a server of its own."""
    server = own.Server(ROOMY)
    try:
        tree = machine.Tree(server.root)
        say("an idle server without an endpoint", memory_mib(tree), "MiB")
        for role, mib in sorted(by_role(tree).items()):
            say(f"  {role}", mib, "MiB")
        for name, model, bar in (("small", small(), "<= 15"), ("gbdt", own.artifact("gbdt"), "")):
            server.deploy(f"{name}-first", model)
            first_mib = memory_mib(tree)
            server.deploy(f"{name}-many", model, instances=more)
            say(f"{name}: an instance more of one endpoint", (memory_mib(tree) - first_mib) / more, "MiB", bar)
    finally:
        server.stop()


def idle(endpoints: int, seconds: float) -> None:
    """What so many endpoints of one instance take while nobody asks them."""
    server = own.Server(ROOMY)
    try:
        tree = machine.Tree(server.root)
        server.deploy("endpoint-0", small())
        first_mib = memory_mib(tree)
        for number in range(1, endpoints):
            server.deploy(f"endpoint-{number}", small())
        each_mib = (memory_mib(tree) - first_mib) / (endpoints - 1)
        say("small: an endpoint of one instance more", each_mib, "MiB")
        cpu_s, start = tree.cpu_s(), time.monotonic()
        time.sleep(seconds)
        share = (tree.cpu_s() - cpu_s) / (time.monotonic() - start)
        say(f"{endpoints} endpoints, idle for {seconds:.0f} s", share * 100, "% of a core", "<= 1")
        for role, mib in sorted(by_role(tree).items()):
            say(f"  {role}", mib, "MiB")
    finally:
        server.stop()


def routed(endpoints: int, seconds: float) -> None:
    """A router, its table on disk, and nothing that anybody asks it."""
    began_s = time.monotonic()
    router = RouterAlone("echo", Setup(), endpoints)
    try:
        took_s = time.monotonic() - began_s
        tree = machine.Tree(router.roots[0])
        say(f"router, {endpoints:,} endpoints", memory_mib(tree), "MiB")
        cpu_s, start = tree.cpu_s(), time.monotonic()
        time.sleep(seconds)
        share = (tree.cpu_s() - cpu_s) / (time.monotonic() - start)
        say(f"router, {endpoints:,} endpoints, idle for {seconds:.0f} s", share * 100, "% of a core")
        say(f"router, {endpoints:,} endpoints, connected to all, workers' start included", took_s, "s")
    finally:
        router.stop()


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="scripts/bench footprint", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="fewer instances, a shorter look at the idle platform")
    quick = parser.parse_args().quick
    grown(4 if quick else 10)
    idle(20, 10.0 if quick else 60.0)
    for endpoints in (1, 100, 1000):
        routed(endpoints, 5.0 if quick else 20.0)


if __name__ == "__main__":
    main()
