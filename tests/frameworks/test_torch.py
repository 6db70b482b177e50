"""PyTorch, where it is installed: programs, scripts, and what is neither."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kedge.serving import runtimes
from kedge.serving.runtimes.base import Invocation, LoadError

from .data import X, answered, ask, csv, in_json, outcomes

torch: Any = pytest.importorskip(
    "torch", reason="its wheels bring gigabytes of CUDA, so scripts/test-frameworks does not"
)
pytestmark = pytest.mark.filterwarnings("ignore")
NET = """
import torch, os
class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(5, 2)
        self.dropout = torch.nn.Dropout(0.5)
    def forward(self, x):
        return self.dropout(self.linear(x))
"""


@pytest.fixture
def net() -> Any:
    names: dict[str, Any] = {}
    exec(NET, names)
    return names["Net"]().eval()


def plain(net: Any, rows: Any) -> Any:
    with torch.no_grad():
        return net(torch.tensor(rows, dtype=torch.float32)).numpy()


def test_a_torchscript_program(tmp_path: Path, net: Any):
    torch.jit.trace(net, torch.zeros(1, 5)).save(str(tmp_path / "model.pt"))
    runtime = runtimes.load("torch", tmp_path, {})
    assert not runtime.joinable
    want = plain(net, X[:3])
    assert np.allclose(answered(runtime, X[:3]), want, rtol=1e-6)
    assert np.allclose(json.loads(ask(runtime, csv(X[:3])).body), want, rtol=1e-6)
    named = json.dumps({"inputs": {"x": X[:3].tolist()}}).encode()
    assert np.allclose(json.loads(ask(runtime, named, "application/json").body), want, rtol=1e-6)
    [refused] = outcomes(runtime, Invocation(b"a,b", "text/csv"))
    assert refused.status == 400


def test_an_exported_program(tmp_path: Path, net: Any):
    rows = torch.export.Dim("rows")
    program = torch.export.export(net, (torch.zeros(2, 5),), dynamic_shapes=({0: rows},))
    torch.export.save(program, str(tmp_path / "model.pt2"))
    assert np.allclose(answered(runtimes.load("torch", tmp_path, {}), X[:4]), plain(net, X[:4]), rtol=1e-6)


def test_a_script_with_the_toolkits_defaults(tmp_path: Path, net: Any):
    (tmp_path / "code").mkdir()
    torch.save(net.state_dict(), tmp_path / "weights.pt")
    (tmp_path / "code" / "inference.py").write_text(
        NET + "def model_fn(folder):\n"
        "    net = Net()\n"
        "    net.load_state_dict(torch.load(os.path.join(folder, 'weights.pt')))\n"
        "    return net\n"
    )
    runtime = runtimes.load("torch", tmp_path, {})
    assert np.allclose(answered(runtime, X[:3]), plain(net, X[:3]), rtol=1e-6)
    table = ask(runtime, in_json(X[:3]), "application/json", "text/csv").body.decode().splitlines()
    assert np.allclose([[float(v) for v in line.split(",")] for line in table], plain(net, X[:3]), rtol=1e-6)


def test_what_is_no_program_says_what_would_be(tmp_path: Path, net: Any):
    torch.save(net.state_dict(), tmp_path / "model.pth")
    with pytest.raises(LoadError, match=r"model\.pth is no TorchScript program.*model_fn into code/inference\.py"):
        runtimes.load("torch", tmp_path, {})
