"""Saves the model in MLflow's format and becomes `mlflow models serve`."""

import os
import sys
import tempfile
from pathlib import Path

import mlflow

from benchmarks.serving.peers import served


class Echo(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        return model_input


class Gbdt(mlflow.pyfunc.PythonModel):
    def load_context(self, context):
        self.model = served.gbdt()

    def predict(self, context, model_input, params=None):
        return served.predict(self.model, model_input)


def main() -> None:
    folder = tempfile.mkdtemp(prefix="mlflow-", dir=os.environ["BENCH_FOLDER"])
    model = Echo() if os.environ["BENCH_MODEL"] == "echo" else Gbdt()
    mlflow.pyfunc.save_model(folder + "/model", python_model=model, pip_requirements=[])
    command = [sys.executable, str(Path(sys.executable).parent / "mlflow"), "models", "serve"]
    command += ["-m", folder + "/model", "--env-manager", "local", "-h", "127.0.0.1"]
    os.execv(sys.executable, [*command, "-p", os.environ["PORT"], "-w", "1"])


if __name__ == "__main__":
    main()
