"""Processing and training jobs of images of one's own, under podman or docker. Skipped where neither runs one."""

from __future__ import annotations

import io
import json
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults.conftest import until
from tests.jobs.programs import Programs

from . import image
from .conftest import SMALL, Hosted
from .engines import engine, running

pytestmark = pytest.mark.usefixtures("engine_here")
PROGRAM = Path(__file__).with_name("job.py").read_bytes()


class Contained(Programs):
    """Jobs of an image that has the program `job`, and `train`, which is the same."""

    def __init__(self, server: Hosted, name: str) -> None:
        super().__init__(server)
        self.image = name

    def run(self, name: str, *words: str, **more: Any) -> str:
        """A processing job whose program is told these words."""
        app: dict[str, Any] = {"ImageUri": self.image, "ContainerEntrypoint": ["job"]}
        app |= {"ContainerArguments": list(words)} if words else {}
        return self.process(name, app={**app, **more.pop("app", {})}, cluster={"InstanceType": SMALL}, **more)


@pytest.fixture(scope="module")
def job_image(engine_here: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    path = tmp_path_factory.mktemp("image") / "root.tar"
    image.write(path, {"job": PROGRAM, "train": PROGRAM})
    name = f"localhost/kedge-job:{os.getpid()}"
    engine("import", str(path), name)
    yield name
    engine("rmi", "--force", name)


@pytest.fixture(scope="module")
def settings(settings: dict[str, str], job_image: str) -> dict[str, str]:
    """The image is there before the server is, and until after it."""
    return {**settings, "KEDGE_CONTAINER_ENGINE": "auto"}


@pytest.fixture(scope="module")
def jobs(server: Hosted, job_image: str) -> Contained:
    return Contained(server, job_image)


def test_a_processing_job_from_inputs_to_outputs(server: Hosted, jobs: Contained):
    jobs.put("data/a.csv", "1,2")
    jobs.run(
        "sums", "sums", "--all", "yes", inputs=[jobs.input("data", jobs.uri("data/"))],
        outputs=[jobs.output("out", "sums")], Environment={"COLOUR": "red", "LINES": "1\n2"},
    )  # fmt: skip
    found = jobs.processed("sums")
    assert found["ProcessingJobStatus"] == "Completed", found
    assert found["ExitMessage"] == "all is well"
    assert json.loads(jobs.get("sums/deep/sums.json")) == {"a.csv": 3}
    assert json.loads(jobs.get("sums/told.json")) == ["sums", "red", "1\n2", ["--all", "yes"], 1]
    assert jobs.log("ProcessingJobs", "sums") == ["a line of the log"]
    until(lambda: not running(server), 40, "the end of its container")
    until(lambda: not list((server.data / "jobs").iterdir()), 40, "the end of its folder")


def test_a_training_job_runs_the_image_with_the_word_train(jobs: Contained):
    jobs.put("train/rows.csv", "1,2\n")
    jobs.train(
        "trained", hyperparameters={"rate": "0.5"},
        algorithm={"TrainingImage": jobs.image, "MetricDefinitions": [{"Name": "loss", "Regex": "loss=([0-9.]+)"}]},
        InputDataConfig=[jobs.channel("train", jobs.uri("train/"))],
    )  # fmt: skip
    found = jobs.trained("trained")
    assert found["TrainingJobStatus"] == "Completed", found
    assert [(each["MetricName"], each["Value"]) for each in found["FinalMetricDataList"]] == [("loss", 0.25)]
    with tarfile.open(fileobj=io.BytesIO(jobs.get("trained/trained/output/model.tar.gz")), mode="r:gz") as archive:
        model = archive.extractfile("model.json")
        assert model is not None
        assert json.loads(model.read()) == ["0.5", "1,2\n", "trained"]


def test_it_has_the_keys_of_its_role_unless_its_network_is_isolated(jobs: Contained):
    jobs.run("keys", "keys")
    assert jobs.processed("keys")["ExitMessage"] == "ASIA"
    jobs.run("alone", "keys", NetworkConfig={"EnableNetworkIsolation": True})
    assert "AWS_CONTAINER_AUTHORIZATION_TOKEN" in jobs.processed("alone")["FailureReason"]


def test_one_that_fails_says_why(jobs: Contained):
    jobs.run("raises", "fail")
    jobs.run("says", "say", "3")
    found = jobs.processed("raises")
    assert found["ProcessingJobStatus"] == "Failed"
    assert "ValueError: no such column" in found["FailureReason"]
    assert found["FailureReason"].endswith("exit code: 1")
    assert jobs.processed("says")["FailureReason"] == "AlgorithmError: the data is stale, exit code: 3"


def test_one_that_takes_too_much_memory_says_so(jobs: Contained):
    jobs.run("greedy", "fill", str(600 * 1024**2))
    found = jobs.processed("greedy")
    assert found["ProcessingJobStatus"] == "Failed"
    assert "more memory than the 0.25 GiB" in found["FailureReason"]
    assert not Path("oom").exists()


@pytest.mark.parametrize("word", ["no-such-program", "/opt/ml/config/processingjobconfig.json"])
def test_one_that_cannot_be_started_says_so_in_the_last_words_of_the_engine(server: Hosted, jobs: Contained, word: str):
    name = f"absent-{len(word)}"
    jobs.run(name, app={"ContainerEntrypoint": [word]})
    found = jobs.processed(name)
    assert found["ProcessingJobStatus"] == "Failed"
    assert f"image {jobs.image}" in found["FailureReason"]
    assert word in found["FailureReason"]
    until(lambda: not running(server), 40, "the end of its container")


def test_an_image_that_is_not_there_fails_with_what_to_do(jobs: Contained):
    jobs.run("missing", app={"ImageUri": "localhost/nobody-has-this:1"})
    assert "KEDGE_PULL_IMAGES" in jobs.processed("missing")["FailureReason"]


def test_it_is_stopped_as_it_was_asked_to(server: Hosted, jobs: Contained):
    jobs.run("long", "wait", outputs=[jobs.output("out", "long", "Continuous")])
    until(lambda: jobs.keys("long/"), 40, "what it wrote")
    assert len(running(server)) == 1
    jobs.sagemaker.stop_processing_job(ProcessingJobName="long")
    assert jobs.processed("long")["ProcessingJobStatus"] == "Stopped"
    assert jobs.log("ProcessingJobs", "long") == ["asked to end"]
    until(lambda: not running(server), 40, "the end of its container")


def test_it_goes_on_while_the_supervisor_is_dead(own_server: Hosted, job_image: str):
    jobs = Contained(own_server, job_image)
    jobs.run("held", "hold", outputs=[jobs.output("out", "held", "Continuous")])
    until(lambda: jobs.keys("held/"), 40, "what it wrote")
    (before,) = running(own_server)
    started = engine("inspect", "--format", "{{.State.StartedAt}}", before)
    own_server.kill("supervisor")
    own_server.reap()
    own_server.up()
    assert engine("inspect", "--format", "{{.State.StartedAt}}", before) == started
    (folder,) = (own_server.data / "jobs").iterdir()
    (folder / "ml" / "processing" / "out" / "go").touch()
    found = Contained(own_server, job_image).processed("held")
    assert (found["ProcessingJobStatus"], found["ExitMessage"]) == ("Completed", "held on")
    own_server.down()
    assert not running(own_server)
