"""What clients see while processes are killed: 64 connections that ask at once, check every answer and never retry.

    scripts/bench kills [--role instance|router|control|forkserver] [--seconds 60] [--every 2] [--connections 64]
                        [--instances 2] [--routers 1] [--signal KILL|TERM] [--rate PER_S] [--random SEED]

Every so often one process of the role gets the signal, each in turn, or with --random any one that lives. With --rate
so many requests a second are sent, each when it is due, instead of the next one after each answer. Prints how many
answers came, every error that a client saw, and which of them are not those of requests that a killed router had read.
Two more clients make a new connection for each request; from a signal on, the time until one of them has its answer is
how long the port was away.
"""

from __future__ import annotations

import argparse
import random
import signal
import statistics
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.faults.clients import Clients, Failure, Kill, lives, percentile, role_pids, send, unexplained
from tests.faults.conftest import Server, until
from tests.faults.pacing import Paced


def living(server: Server, role: str) -> list[int]:
    """By the name of the task."""
    return [pid for _, pid in sorted(role_pids(server, role).items()) if lives(pid)]


def take_over(paced: Paced, clients: Clients) -> None:
    """What became of paced requests, as clients note it."""
    for each in paced.answers:
        at_s = each.due_s + each.took_s
        if (each.status, each.body) == (200, each.asked):
            clients.took_s.append(each.took_s)
            clients.good_at_s.append(at_s)
        else:
            said = f"{each.asked!r} was answered {each.status} {each.body!r}"
            clients.failures.append(Failure(said, each.due_s, at_s))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--role", default="instance", choices=["control", "router", "instance", "forkserver"])
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--every", type=float, default=2.0)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--instances", type=int, default=2)
    parser.add_argument("--routers", type=int, default=1)
    parser.add_argument("--rate", type=float, default=0.0)
    parser.add_argument("--random", type=int, metavar="SEED")
    parser.add_argument("--signal", default="KILL", choices=["KILL", "TERM"])
    options = parser.parse_args()
    if options.rate and options.role == "router":
        parser.error("--rate: of a paced request it is not known on which router's connection it was")
    with tempfile.TemporaryDirectory(prefix="kedge-bench-") as folder, ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setenv("KEDGE_ROUTERS", str(options.routers))
        server = Server(Path(folder) / "data").up()
        stack.callback(server.down)
        server.endpoint("steady", instances=options.instances)
        paced = Paced(server, "steady", options.rate, options.connections) if options.rate else None
        steady = Clients(server, "steady", options.connections)
        draw = None if options.random is None else random.Random(options.random)
        new = Clients(server, "steady", 2, requests_each=1)
        kills: list[Kill] = []
        start_s = time.monotonic()
        with paced or steady, new:
            due_s = start_s
            while (due_s := max(due_s, time.monotonic()) + options.every) < start_s + options.seconds:
                time.sleep(max(0.0, due_s - time.monotonic()))
                # In turn, but whoever was ended by the last signals may still be away.
                pids = until(lambda: living(server, options.role), what=f"a living {options.role}")
                victim = pids[len(kills) % len(pids)] if draw is None else draw.choice(pids)
                kills.append(send(victim, getattr(signal, f"SIG{options.signal}")))
            time.sleep(max(0.0, start_s + options.seconds - time.monotonic()))
    seconds = time.monotonic() - start_s
    if paced is not None:
        take_over(paced, steady)
    failures = [*steady.failures, *new.failures]
    lost = unexplained(failures, kills) if options.role == "router" else failures
    print(
        f"{steady.answers + new.answers} answers in {seconds:.1f} s, {len(kills)} x SIG{options.signal} to a "
        f"{options.role}; p99 {percentile(steady.took_s, 0.99) * 1000:.0f} ms, longest {max(steady.took_s):.2f} s"
    )
    away_s = [
        min((at_s - kill.over_s for at_s in new.good_at_s if at_s > kill.over_s), default=float("inf"))
        for kill in kills
    ]
    print(f"next answer on a new connection: median {statistics.median(away_s):.3f} s, longest {max(away_s):.3f} s")
    print(f"{len(failures)} errors, {len(lost)} of them not of requests that a killed router had read")
    for error, count in Counter(each.what for each in failures).most_common(5):
        print(f"{count:6} {error}")


if __name__ == "__main__":
    main()
