"""KServe's Python server, version 1 of its protocol."""

import os

from kserve import Model, ModelServer

from benchmarks.serving.peers import served


class Echo(Model):
    def __init__(self):
        super().__init__("echo")
        self.ready = True

    async def predict(self, payload, headers=None, response_headers=None):
        return payload


class Gbdt(Model):
    def __init__(self):
        super().__init__("gbdt")
        self.model = served.gbdt()
        self.ready = True

    async def predict(self, payload, headers=None, response_headers=None):
        return {"predictions": served.predict(self.model, payload["instances"])}


if __name__ == "__main__":
    port = int(os.environ["PORT"])
    ModelServer(http_port=port, workers=1, enable_grpc=False, access_log_format=None).start([Echo(), Gbdt()])
