"""Writes MLServer's settings and becomes `mlserver start`. BATCH joins that many requests; PROCESSES=0 has no pool."""

import json
import os
import sys
import tempfile
from pathlib import Path

from benchmarks.serving.peers import served


def main() -> None:
    port, batch = int(os.environ["PORT"]), int(os.environ.get("BATCH", "0"))
    shared = Path(os.environ["BENCH_FOLDER"])
    folder = Path(tempfile.mkdtemp(prefix="mlserver-", dir=shared))
    server = {
        "host": "127.0.0.1",
        "http_port": port,
        "grpc_port": port + 1,
        "metrics_port": port + 2,
        "parallel_workers": int(os.environ.get("PROCESSES", "1")),
        "debug": False,
        "environments_dir": str(folder / "environments"),
    }
    echo = {"name": "echo", "implementation": "benchmarks.serving.peers.mlserver_echo.Echo"}
    gbdt = {
        "name": "gbdt",
        "implementation": "mlserver_sklearn.SKLearnModel",
        "parameters": {"uri": str(served.gbdt_file())},
        **({"max_batch_size": batch, "max_batch_time": 0.002} if batch else {}),
    }
    (folder / "settings.json").write_text(json.dumps(server))
    for model in (echo, gbdt):
        (folder / model["name"]).mkdir()
        (folder / model["name"] / "model-settings.json").write_text(json.dumps(model))
    program = str(Path(sys.executable).parent / "mlserver")
    os.execv(sys.executable, [sys.executable, program, "start", str(folder)])


if __name__ == "__main__":
    main()
