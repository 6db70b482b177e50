"""Clarify asks a copy of a model: on a running server, through boto3 as a job would."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kedge.monitoring.clarify import main
from tests.jobs.conftest import Jobs

SCRIPT = """
def model_fn(model_dir):
    return None
def transform_fn(model, data, content_type, accept):
    data = data.decode() if isinstance(data, (bytes, bytearray)) else data
    rows = [[float(each) for each in line.split(",")] for line in data.splitlines()]
    return "\\n".join(str(2 * row[0] - 3 * row[1]) for row in rows), "text/csv"
"""


@pytest.fixture(scope="module")
def jobs(kedge_server: Any) -> Jobs:
    kedge_server.reset()
    made = Jobs(kedge_server)
    made.model("slopes", SCRIPT)
    return made


def config(**predictor: str) -> str:
    return json.dumps(
        {
            "headers": ["a", "b", "y"],
            "label": "y",
            "methods": {"shap": {"baseline": [[0, 0]]}},
            "predictor": {
                "content_type": "text/csv",
                "accept_type": "text/csv",
                "instance_type": "ml.m5.large",
                **predictor,
            },
        }
    )


def test_a_model_is_copied_asked_and_gone(jobs: Jobs, tmp_path, monkeypatch):
    for name, value in jobs.kedge.environment().items():
        monkeypatch.setenv(name, value)
    given = tmp_path / "processing/input"
    for name, text in (("config/analysis_config.json", config(model_name="slopes")), ("data/a.csv", "1,1,0\n4,2,1\n")):
        (given / name).parent.mkdir(parents=True)
        (given / name).write_text(text)

    code = main({}, tmp_path)

    assert code == 0, (tmp_path / "output/message").read_text()
    found = json.loads((tmp_path / "processing/output/analysis.json").read_text())
    values = found["explanations"]["kernel_shap"]["label0"]["global_shap_values"]
    assert values == pytest.approx({"a": 5.0, "b": 4.5})
    assert [each["EndpointStatus"] for each in jobs.sagemaker.list_endpoints()["Endpoints"]] in ([], ["Deleting"])
    assert jobs.sagemaker.list_endpoint_configs()["EndpointConfigs"] == []

    (given / "config/analysis_config.json").write_text(config(model_name="nobody"))
    assert main({}, tmp_path) == 1
    assert "The model nobody cannot be asked" in (tmp_path / "output/message").read_text()
