"""Bodies of 1 KB, 100 KB and 5 MB there and back, through the router to a script that gives them back as they are.

    scripts/bench payloads [--quick] [--unsigned]

Prints for each size and number of connections: requests and bytes a second, latencies, server CPU for each request, and
the memory of the whole server at its highest. One answer in a thousand, or more, is compared byte for byte.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType

from benchmarks.serving import machine, own, prepared
from benchmarks.serving.load import Measured, measure, over_http
from benchmarks.serving.own import Artifact, Setup

SIZES = {"1 KB": (1_000, 2000), "100 KB": (100_000, 400), "5 MB": (5_000_000, 32)}
"""Bytes of a body, and how many different ones are sent in turn."""
CONNECTIONS = (1, 16, 64)
KIND = "application/octet-stream"
SCRIPT = """
KEDGE_JOINABLE = True


def model_fn(model_dir):
    return None


def input_fn(body, content_type):
    return body


def predict_fn(data, model):
    return data


def output_fn(prediction, accept):
    return prediction, "application/octet-stream"
"""


class Peak:
    """The highest memory of a tree while it is entered, looked at twice a second."""

    def __init__(self, tree: machine.Tree) -> None:
        self._tree = tree
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="memory")
        self.mib = 0.0

    def __enter__(self) -> Peak:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while True:
            self.mib = max(self.mib, machine.memory_mib(self._tree.members()))
            if self._done.wait(0.5):
                return


def bodies(size: int, count: int) -> list[bytes]:
    """Different, and not to be compressed."""
    source = random.Random(size)
    return [source.randbytes(size) for _ in range(count)]


def measurements(
    server: own.Server, tree: machine.Tree, sent: list[bytes], at: Sequence[int], seconds: float
) -> Iterator[tuple[int, Measured, float]]:
    """(connections, what was measured, MiB at most)."""

    def check(number: int, body: bytes) -> bool:
        return body == sent[number]

    with tempfile.TemporaryDirectory(prefix="kedge-bench-") as folder:
        file = Path(folder) / "requests"
        path = ["/endpoints/mirror/invocations"]
        prepared.write(file, prepared.requests(server.port, path, KIND, sent, server.signer))
        samples = list(enumerate(prepared.read(file)))[:20]
        for connections in at:
            load = over_http(server.port, file, connections, samples, check, 1.0)
            load(1)
            with Peak(tree) as peak:
                measured = measure(tree, load, seconds)
            yield connections, measured, peak.mib


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="scripts/bench payloads", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="2 s a measurement, not 5; no 64 large ones")
    parser.add_argument("--unsigned", action="store_true", help="with --insecure-no-auth")
    options = parser.parse_args()
    server = own.Server(Setup(signed=not options.unsigned))
    try:
        server.deploy("mirror", Artifact({"code/inference.py": SCRIPT.encode()}, "kedge/script", "script"))
        tree = machine.Tree(server.root)
        print(f"idle: {machine.memory_mib(tree.members()):.0f} MiB")
        for name, (size, count) in SIZES.items():
            large = size > 1_000_000
            # Large bodies share the way in turns, so that 64 of them end at about the same time.
            seconds = (2 if options.quick else 5) * (6 if large else 1)
            at = CONNECTIONS[:2] if large and options.quick else CONNECTIONS
            for connections, measured, peak_mib in measurements(server, tree, bodies(size, count), at, seconds):
                print(line(name, size, connections, measured, peak_mib), flush=True)
        print(f"idle again: {machine.memory_mib(tree.members()):.0f} MiB")
    finally:
        server.stop()


def line(name: str, size: int, connections: int, seen: Measured, peak_mib: float) -> str:
    sent = seen.sent
    rate = (sent.requests - sent.errors) / sent.seconds
    return (
        f"{name:>6} c={connections:<3} {rate:8.0f}/s  {rate * size / 1e6:7.1f} MB/s each way"
        f"  p50 {sent.p50_ms:8.2f} ms  p99 {sent.p99_ms:8.2f} ms  {sent.errors} errors  {sent.checked} checked"
        f"  {seen.cpu_us:8.0f} us CPU  {peak_mib:6.0f} MiB at most"
    )


if __name__ == "__main__":
    main()
