"""Ray Serve: its proxy and one replica of each deployment."""

import os
import signal

import ray
from ray import serve
from starlette.requests import Request

from benchmarks.serving.peers import served

OPTIONS = {"num_replicas": 1, "ray_actor_options": {"num_cpus": 0.1}, "max_ongoing_requests": 100}


@serve.deployment(**OPTIONS)
class Echo:
    async def __call__(self, request: Request):
        return await request.json()


@serve.deployment(**OPTIONS)
class Gbdt:
    def __init__(self):
        self.model = served.gbdt()

    async def __call__(self, request: Request):
        if request.headers.get("content-type") == "text/csv":
            rows = served.parse_csv(await request.body())
        else:
            rows = (await request.json())["instances"]
        return {"predictions": served.predict(self.model, rows)}


@serve.deployment(**OPTIONS)
class Batched:
    def __init__(self):
        self.model = served.gbdt()

    @serve.batch(max_batch_size=64, batch_wait_timeout_s=0.002)
    async def joined(self, requests):
        return served.predict_joined(self.model, requests)

    async def __call__(self, request: Request):
        return {"predictions": await self.joined((await request.json())["instances"])}


def main() -> None:
    variables = {name: os.environ[name] for name in ("OMP_NUM_THREADS", "PYTHONPATH", "BENCH_FOLDER")}
    ray.init(num_cpus=2, include_dashboard=False, logging_level="warning", runtime_env={"env_vars": variables})
    options = {"host": "127.0.0.1", "port": int(os.environ["PORT"])}
    serve.start(http_options=options, logging_config={"enable_access_log": False})
    for name, deployment in (("echo", Echo), ("gbdt", Gbdt), ("gbdt-batched", Batched)):
        serve.run(deployment.bind(), name=name, route_prefix=f"/{name}")
    signal.sigwait([signal.SIGTERM, signal.SIGINT])
    serve.shutdown()
    ray.shutdown()


if __name__ == "__main__":
    main()
