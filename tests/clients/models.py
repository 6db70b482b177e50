"""What the clients deploy: files, made once a run with the packages of the server's own environment."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import joblib
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

SCRIPT = """
import json
import os

import joblib
import numpy


def model_fn(model_dir):
    return joblib.load(os.path.join(model_dir, "model.joblib"))


def input_fn(body, content_type):
    if content_type == "text/csv":
        text = body if isinstance(body, str) else body.decode()
        return numpy.array([[float(cell) for cell in row.split(",")] for row in text.strip().splitlines()])
    return numpy.array(json.loads(body))


def predict_fn(rows, model):
    return model.predict(rows) if hasattr(model, "predict") else model.transform(rows)


def output_fn(labels, accept):
    if accept == "text/parts":
        return (f"{label};" for label in labels), "text/plain"
    if "csv" in accept:
        return "\\n".join(",".join(str(cell) for cell in numpy.atleast_1d(row)) for row in labels), accept
    return json.dumps({"by": os.environ.get("GREETING", "nobody"), "labels": labels.tolist()}), "application/json"
"""


LOADS = """
import os

import joblib


def model_fn(model_dir):
    return joblib.load(os.path.join(model_dir, "model.joblib"))
"""

SERVE = """
import json

import loads
from helper import rows_of

model_fn = loads.model_fn


def input_fn(body, content_type):
    return rows_of(body)


def output_fn(labels, accept):
    return json.dumps({"label": labels.tolist()}), "application/json"
"""

HELPER = """
import json


def rows_of(body):
    return json.loads(body)
"""


def write(folder: Path) -> None:
    """Archives NAME.tar.gz, "whole" with its code, the others one joblib file each; code/ and project/ as sources."""
    rows, labels = load_iris(return_X_y=True)
    model = LogisticRegression(max_iter=500).fit(rows, labels)
    scaler = StandardScaler().fit(rows)
    scaled = LogisticRegression(max_iter=500).fit(scaler.transform(rows), labels)
    code = folder / "code"
    code.mkdir()
    (code / "inference.py").write_text(SCRIPT)
    (code / "loads.py").write_text(LOADS)
    project = folder / "project"
    project.mkdir()
    (project / "serve.py").write_text(SERVE)
    (project / "helper.py").write_text(HELPER)
    for name, fitted in (("bare", model), ("whole", model), ("scaler", scaler), ("scaled", scaled)):
        with tarfile.open(folder / f"{name}.tar.gz", "w:gz") as archive:
            data = io.BytesIO()
            joblib.dump(fitted, data)
            member = tarfile.TarInfo("model.joblib")
            member.size = data.tell()
            data.seek(0)
            archive.addfile(member, data)
            if name == "whole":
                archive.add(code, "code")
