"""Robyn: a core in Rust, handlers in Python, JSON by orjson."""

import os

import orjson
from robyn import Request, Response, Robyn

from benchmarks.serving.peers import served

app = Robyn(__file__)
gbdt = served.gbdt()


def _answer(value: object) -> Response:
    return Response(200, {"content-type": "application/json"}, orjson.dumps(value))


@app.post("/echo")
async def echo(request: Request) -> Response:
    return _answer(orjson.loads(request.body))


@app.post("/gbdt")
async def predict(request: Request) -> Response:
    return _answer({"predictions": served.predict(gbdt, orjson.loads(request.body)["instances"])})


@app.post("/gbdt-csv")
async def predict_csv(request: Request) -> Response:
    return _answer({"predictions": served.predict(gbdt, served.parse_csv(request.body))})


if __name__ == "__main__":
    app.start(host="127.0.0.1", port=int(os.environ["PORT"]))
