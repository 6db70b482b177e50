"""Packs java_handler.py and becomes TorchServe (argument `torchserve`) or Multi Model Server (`mms`). Needs Java 17."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HANDLER = Path(__file__).parent / "java_handler.py"
BIN = Path(sys.executable).parent


def main(kind: str) -> None:
    name, port = os.environ["BENCH_MODEL"], int(os.environ["PORT"])
    folder = Path(tempfile.mkdtemp(prefix=f"{kind}-", dir=os.environ["BENCH_FOLDER"]))
    store = folder / "store"
    store.mkdir()
    settings = {
        "inference_address": f"http://127.0.0.1:{port}",
        "management_address": f"http://127.0.0.1:{port + 1}",
        "metrics_address": f"http://127.0.0.1:{port + 2}",
        "default_workers_per_model": "1",
        "model_store": str(store),
    }
    # As with the others: no access log, and one pid file for each server.
    os.environ["TMPDIR"] = str(folder)
    os.chdir(folder)
    if kind == "torchserve":
        settings.update(_torchserve(store, name))
        command = [str(BIN / "torchserve"), "--start", "--foreground", "--ncs", "--ts-config"]
        log = _write(folder / "log4j2.xml", _LOG_2)
    else:
        _multi_model_server(store / name, name)
        command = [str(BIN / "multi-model-server"), "--start", "--foreground", "--models", f"{name}={name}"]
        command += ["--mms-config"]
        log = _write(folder / "log4j.properties", _LOG_1)
    config = _write(folder / "config.properties", "".join(f"{key}={value}\n" for key, value in settings.items()))
    command = [*command, config, "--model-store", str(store), "--log-config", log]
    os.execv(sys.executable, [sys.executable, *command])


def _torchserve(store: Path, name: str) -> dict[str, str]:
    archiver = [str(BIN / "torch-model-archiver"), "--model-name", name, "--version", "1.0", "--handler", str(HANDLER)]
    subprocess.run([*archiver, "--export-path", str(store)], check=True)
    more = {"disable_token_authorization": "true", "enable_envvars_config": "false", "load_models": f"{name}.mar"}
    if batch := os.environ.get("BATCH"):
        version = {"defaultVersion": True, "marName": f"{name}.mar", "minWorkers": 1, "maxWorkers": 1}
        version |= {"batchSize": int(batch), "maxBatchDelay": 2, "responseTimeout": 60}
        more["models"] = json.dumps({name: {"1.0": version}})
    return more


def _multi_model_server(folder: Path, name: str) -> None:
    (folder / "MAR-INF").mkdir(parents=True)
    shutil.copy(HANDLER, folder)
    manifest = {
        "specificationVersion": "1.0",
        "implementationVersion": "1.0",
        "runtime": "python",
        "modelServerVersion": "1.0",
        "engine": {"engineName": "none", "engineVersion": "1"},
        "model": {"modelName": name, "handler": "java_handler:handle", "modelVersion": "1.0"},
    }
    (folder / "MAR-INF" / "MANIFEST.json").write_text(json.dumps(manifest))


def _write(file: Path, text: str) -> str:
    file.write_text(text)
    return str(file)


_LOG_2 = (
    '<Configuration status="ERROR"><Appenders><Console name="c"/></Appenders>'
    '<Loggers><Root level="warn"><AppenderRef ref="c"/></Root></Loggers></Configuration>'
)
_LOG_1 = (
    "log4j.rootLogger=WARN, c\nlog4j.appender.c=org.apache.log4j.ConsoleAppender\n"
    "log4j.appender.c.layout=org.apache.log4j.PatternLayout\n"
)

if __name__ == "__main__":
    main(sys.argv[1])
