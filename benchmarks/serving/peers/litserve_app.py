"""LitServe: an API process, and a process that runs the model. BATCH joins that many requests."""

import os

import litserve

from benchmarks.serving.peers import served

BATCH = int(os.environ.get("BATCH", "1"))


class Echo(litserve.LitAPI):
    def setup(self, device):
        pass

    def predict(self, x):
        return x


class Gbdt(litserve.LitAPI):
    def setup(self, device):
        self.model = served.gbdt()

    def decode_request(self, request):
        return request["instances"]

    def batch(self, inputs):
        return inputs

    def predict(self, rows):
        return served.predict_joined(self.model, rows) if BATCH > 1 else served.predict(self.model, rows)

    def unbatch(self, output):
        return output

    def encode_response(self, output):
        return {"predictions": output}


if __name__ == "__main__":
    batched = {"max_batch_size": BATCH, "batch_timeout": 0.002} if BATCH > 1 else {}
    api = Echo() if os.environ["BENCH_MODEL"] == "echo" else Gbdt(**batched)
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=1, timeout=60)
    quiet = {"generate_client_file": False, "log_level": "warning", "access_log": False}
    server.run(host="127.0.0.1", port=int(os.environ["PORT"]), num_api_servers=1, **quiet)
