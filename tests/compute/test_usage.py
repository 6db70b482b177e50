"""What instances use, by real processes; GPUs by a driver's library that the test compiles."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from kedge.clock import HandClock
from kedge.compute import watchdog
from kedge.compute.base import TaskSpec
from kedge.compute.nvml import gpu_usage
from kedge.compute.process_id import ProcessId
from kedge.compute.records import TaskRecord
from kedge.compute.usage import MOST, Sampler, of_instance
from kedge.compute.used import GpuUsage, Sample, Usage, between

BUSY = """
import sys, time
data = bytearray(64 << 20)
data[::4096] = b"x" * len(data[::4096])
while time.process_time() < 0.5: pass
print("done", flush=True)
time.sleep(60)
"""


@pytest.fixture
def busy() -> Iterator[subprocess.Popen[str]]:
    """A process that has had half a second of a processor, in a child, and has touched 64 MiB."""
    with subprocess.Popen([sys.executable, "-c", BUSY], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "done\n"
        yield process
        process.kill()


def record(pid: int) -> TaskRecord:
    spec = TaskSpec("i-1", "sklearn", "", "", memory_bytes=256 << 20, labels={"variant": "v"})
    return TaskRecord(spec, "", "", process=ProcessId.of(pid))


def test_a_process_and_what_it_has_used(busy: subprocess.Popen[str]):
    usage = of_instance(record(busy.pid), 3, watchdog.processes(), None)
    assert 0.4 <= sum(usage.cpu_s.values()) < 5
    assert 64 << 20 <= usage.memory_bytes < 160 << 20
    assert (usage.task, usage.labels, usage.memory_limit_bytes) == ("i-1", {"variant": "v"}, 256 << 20)
    assert usage.loaded is None, "it is no multi-model instance"
    assert 0.04 <= between(None, usage, 10.0).cores < 0.5
    assert between(usage, usage, 10.0).cores == 0


def usage_of(**cpu_s: float) -> Usage:
    return Usage("i-1", {}, cpu_s, 10, 100, None)


def test_of_a_process_that_ended_nothing_is_taken_away():
    assert between(usage_of(a=5.0, b=1.0), usage_of(b=2.0, c=3.0), 2.0).cores == 2.0


def test_samples_are_kept_until_they_were_taken(tmp_path: Path):
    clock = HandClock(datetime(2026, 1, 1, tzinfo=UTC))
    used = [0.0]

    def look() -> list[Usage]:
        used[0] += 5.0
        return [usage_of(a=used[0])]

    sampler = Sampler(look, tmp_path, clock)
    for _ in range(25):
        sampler.look()
        clock.advance(1.0)
    [first, second] = map(Sample.of, sampler.after("", 0))
    assert (first.sequence, second.sequence, second.at_s - first.at_s) == (1, 2, 10.0)
    assert second.instances[0].cores == 0.5
    assert 0 < second.disk_share < 1
    assert [each["sequence"] for each in sampler.after("another", 9)] == [1, 2], "of a supervisor before this one"
    assert [each["sequence"] for each in sampler.after(first.boot, 1)] == [2]
    assert [each["sequence"] for each in sampler.after("", 0)] == [2]
    for _ in range(MOST + 5):
        clock.advance(10.0)
        sampler.look()
    assert len(sampler.after("", 0)) == MOST


def test_without_instances_there_is_nothing_to_tell(tmp_path: Path):
    clock = HandClock(datetime(2026, 1, 1, tzinfo=UTC))
    sampler = Sampler(list, tmp_path, clock)
    for _ in range(5):
        sampler.look()
        clock.advance(10.0)
    assert sampler.after("", 0) == []


DRIVER = """
typedef struct { unsigned gpu, memory; } rates; typedef struct { unsigned long long total, free, used; } memory;
int nvmlInit_v2(void) { return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned at, void **device) { *device = (void *)(at + 1L); return at > 1; }
int nvmlDeviceGetUtilizationRates(void *device, rates *to) { to->gpu = 40 * (long)device; return 0; }
int nvmlDeviceGetMemoryInfo(void *device, memory *to) { to->total = 80; to->used = 20 * (long)device; return 0; }
"""


def test_gpus_by_the_drivers_library(tmp_path: Path):
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler to make a stand-in of NVIDIA's library with")
    source, library = tmp_path / "driver.c", tmp_path / "driver.so"
    source.write_text(DRIVER)
    subprocess.run([compiler, "-w", "-shared", "-fPIC", "-o", library, source], check=True)
    found = gpu_usage((0, 1, 2), str(library))
    assert found == (GpuUsage(0, 0.4, 0.25), GpuUsage(1, 0.8, 0.5)), "of the third one it says nothing"


def test_a_machine_without_the_drivers_library(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    assert gpu_usage((0,), str(tmp_path / "none.so")) == ()
    assert "GPUs are not measured" in caplog.text
    assert gpu_usage(()) == ()


def test_its_own_process_is_not_among_others(busy: subprocess.Popen[str]):
    assert os.getpid() not in watchdog.members([busy.pid], watchdog.processes())
