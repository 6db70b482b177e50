from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from kedge.monitoring import analyzer

CSV = {"csv": {"header": True}}
CAPTURED = {"sagemakerCaptureJson": {"captureIndexNames": ["endpointInput", "endpointOutput"]}}


@dataclass
class Job:
    """A folder that the analyzer takes for /opt/ml."""

    root: Path

    def put(self, name: str, data: bytes | str) -> Path:
        file = self.root / "processing/input/data" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data if isinstance(data, bytes) else data.encode())
        return file

    def run(self, dataset_format: Any = CSV, **environment: str) -> int:
        return analyzer.main(
            {
                "dataset_source": "/opt/ml/processing/input/data",
                "output_path": "/opt/ml/processing/output",
                "dataset_format": json.dumps(dataset_format),
                **environment,
            },
            self.root,
        )

    def baseline(self, data: bytes | str, dataset_format: Any = CSV) -> dict[str, str]:
        """Suggested of these data; what it is called in the environment of a job that judges by it."""
        before = Job(self.root / "before")
        before.put("data", data)
        assert before.run(dataset_format) == 0
        out = before.root / "processing/output"
        return {
            "baseline_statistics": str(out / "statistics.json"),
            "baseline_constraints": str(out / "constraints.json"),
        }

    def result(self, name: str) -> Any:
        return json.loads((self.root / "processing/output" / name).read_text())

    def feature(self, name: str, of: str = "statistics.json") -> Any:
        return next(each for each in self.result(of)["features"] if each["name"] == name)

    def violations(self) -> list[tuple[str, str]]:
        found = self.result("constraint_violations.json")["violations"]
        return [(each["feature_name"], each["constraint_check_type"]) for each in found]

    @property
    def message(self) -> str:
        return (self.root / "output/message").read_text()


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return Job(tmp_path)


def captured(output: str, given: str, *, out: str = "CSV", into: str = "CSV", at: str = "2026-01-01T00:00:00Z") -> str:
    types = {"CSV": "text/csv", "JSON": "application/json"}
    return json.dumps(
        {
            "captureData": {
                "endpointInput": {"observedContentType": types[into], "mode": "INPUT", "data": given, "encoding": into},
                "endpointOutput": {
                    "observedContentType": types[out],
                    "mode": "OUTPUT",
                    "data": output,
                    "encoding": out,
                },
            },
            "eventMetadata": {"eventId": "1", "inferenceTime": at},
            "eventVersion": "0",
        }
    )
