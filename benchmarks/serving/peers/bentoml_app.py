"""BentoML: one service; `gbdt_batched` is the model behind its adaptive batching."""

import bentoml
import numpy as np

from benchmarks.serving.peers import served


@bentoml.service(workers=1, traffic={"timeout": 60}, logging={"access": {"enabled": False}})
class Served:
    def __init__(self):
        self.model = served.gbdt()

    @bentoml.api
    async def echo(self, instances: list) -> dict:
        return {"instances": instances}

    @bentoml.api
    def gbdt(self, instances: list) -> dict:
        return {"predictions": served.predict(self.model, instances)}

    @bentoml.api(batchable=True, max_batch_size=64, max_latency_ms=1000)
    def gbdt_batched(self, instances: np.ndarray) -> np.ndarray:
        return np.asarray(served.predict(self.model, instances))
