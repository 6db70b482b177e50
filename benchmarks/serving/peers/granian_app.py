"""Granian's RSGI protocol and orjson without any framework: how thin a server in Python can be."""

import orjson

from benchmarks.serving.peers import served

gbdt = served.gbdt()
batcher = served.Batcher(gbdt)
HEADERS = [("content-type", "application/json")]


async def app(scope, protocol):
    body = await protocol()
    if scope.path == "/echo":
        answer = orjson.loads(body)
    elif scope.path == "/gbdt-csv":
        answer = {"predictions": served.predict(gbdt, served.parse_csv(body))}
    elif scope.path == "/gbdt-batched":
        answer = {"predictions": await batcher.predict(orjson.loads(body)["instances"])}
    else:
        answer = {"predictions": served.predict(gbdt, orjson.loads(body)["instances"])}
    protocol.response_bytes(200, HEADERS, orjson.dumps(answer))
