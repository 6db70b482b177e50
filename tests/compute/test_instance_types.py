"""What instance types have, and what a machine offers."""

from __future__ import annotations

import re

import pytest

from kedge.compute import capacity
from kedge.compute.instance_types import BUILT_IN, InstanceType, find, parse
from kedge.config import SettingError, Settings
from kedge.errors import ValidationFailed


@pytest.mark.parametrize(
    ("name", "cores", "gib", "gpus"),
    [
        ("ml.t2.medium", 2, 4, 0),
        ("ml.t3.2xlarge", 8, 32, 0),
        ("ml.m4.10xlarge", 40, 160, 0),
        ("ml.m5.large", 2, 8, 0),
        ("ml.m5d.24xlarge", 96, 384, 0),
        ("ml.m7i.48xlarge", 192, 768, 0),
        ("ml.c4.large", 2, 3.75, 0),
        ("ml.c5.xlarge", 4, 8, 0),
        ("ml.c5d.18xlarge", 72, 144, 0),
        ("ml.r5.12xlarge", 48, 384, 0),
        ("ml.g4dn.12xlarge", 48, 192, 4),
        ("ml.g5.xlarge", 4, 16, 1),
        ("ml.p3.16xlarge", 64, 488, 8),
        ("ml.inf2.xlarge", 4, 16, 0),
    ],
)
def test_sizes(name, cores, gib, gpus):
    assert find(name) == InstanceType(name, cores, gib, gpus)


def test_the_table_is_sane():
    for name, kind in BUILT_IN.items():
        assert name == kind.name
        assert re.fullmatch(r"ml\.[a-z0-9]+\.[a-z0-9]+", name)
        assert kind.cores >= 1
        assert 1.5 <= kind.memory_gib / kind.cores <= 32
        assert 0 <= kind.gpus <= 16


def test_an_unknown_type_is_named_with_the_remedy():
    with pytest.raises(ValidationFailed, match=r"ml\.x9\.huge.*KEDGE_INSTANCE_TYPES"):
        find("ml.x9.huge")


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("[]", "one JSON object"),
        ('{"x9.huge": {"cores": 1, "memory_gib": 1}}', "begins with ml"),
        ('{"ml.x.y": {"cores": 1}}', "memory_gib"),
        ('{"ml.x.y": {"cores": "2", "memory_gib": 1}}', 'cores is "2"'),
        ('{"ml.x.y": {"cores": 0, "memory_gib": 1}}', "above 0"),
        ('{"ml.x.y": {"cores": 1, "memory_gib": 1, "gpus": 0.5}}', "gpus is 0.5"),
        ("{", "Expecting"),
    ],
)
def test_a_wrong_file_is_told_apart(text, wrong):
    with pytest.raises(ValueError, match=wrong):
        parse(text)


def test_own_types_come_from_the_file_of_the_setting(tmp_path):
    file = tmp_path / "types.json"
    file.write_text('{"ml.x.y": {"cores": 0.5, "memory_gib": 1, "gpus": 1}}')
    known = capacity.known_types(Settings(instance_types=str(file)))
    assert find("ml.x.y", known) == InstanceType("ml.x.y", 0.5, 1.0, 1)
    assert "ml.m5.large" in known
    with pytest.raises(SettingError, match="missing"):
        capacity.known_types(Settings(instance_types=str(tmp_path / "missing.json")))


def test_the_machine_times_the_overcommit():
    once = capacity.of_machine(Settings(cpu_overcommit=1.0, memory_overcommit=1.0))
    twice = capacity.of_machine(Settings(cpu_overcommit=2.0, memory_overcommit=2.0))
    assert once.cores >= 1
    assert once.memory_bytes > 2**28
    assert twice.cores == 2 * once.cores
    assert twice.memory_bytes == 2 * once.memory_bytes
