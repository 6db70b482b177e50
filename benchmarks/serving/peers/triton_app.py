"""NVIDIA Triton through PyTriton, with its dynamic batching, which never waits here."""

import os

import numpy as np
from pytriton.decorators import batch
from pytriton.model_config import DynamicBatcher, ModelConfig, Tensor
from pytriton.triton import Triton, TritonConfig

from benchmarks.serving import works
from benchmarks.serving.peers import served

gbdt = served.gbdt()


@batch
def echo(x):
    return {"y": x}


@batch
def predict(x):
    return {"y": np.asarray(served.predict(gbdt, x)).reshape(-1, 1)}


def main() -> None:
    port = int(os.environ["PORT"])
    ports = {"http_port": port, "grpc_port": port + 1, "metrics_port": port + 2}
    addresses = {"http_address": "127.0.0.1", "grpc_address": "127.0.0.1", "metrics_address": "127.0.0.1"}
    with Triton(config=TritonConfig(**ports, **addresses, log_verbose=0, exit_on_error=True)) as triton:
        for name, function, width in (("echo", echo, works.FEATURES), ("gbdt", predict, 1)):
            triton.bind(
                model_name=name,
                infer_func=function,
                inputs=[Tensor(name="x", dtype=np.float64, shape=(works.FEATURES,))],
                outputs=[Tensor(name="y", dtype=np.float64, shape=(width,))],
                config=ModelConfig(max_batch_size=128, batcher=DynamicBatcher(max_queue_delay_microseconds=0)),
                strict=False,
            )
        triton.serve()


if __name__ == "__main__":
    main()
