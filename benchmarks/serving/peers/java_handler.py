"""The handler of TorchServe and of Multi Model Server, which both give a list of requests."""

import json
import os

from benchmarks.serving.peers import served

_loaded = []


def handle(data, context):
    echo = os.environ["BENCH_MODEL"] == "echo"
    if not echo and not _loaded:
        _loaded.append(served.gbdt())
    if data is None:
        return None
    bodies = [each.get("body", each.get("data")) for each in data]
    bodies = [json.loads(each) if isinstance(each, bytes | bytearray | str) else each for each in bodies]
    if echo:
        return bodies
    return [{"predictions": each} for each in served.predict_joined(_loaded[0], [body["instances"] for body in bodies])]
