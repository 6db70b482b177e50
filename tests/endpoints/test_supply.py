"""Models that instances ask for while they run."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from kedge.compute.base import TaskState, TaskStatus
from kedge.compute.records import MODELS
from kedge.endpoints.supply import ERROR, due
from tests.endpoints.world import World, packed, variant
from tests.objects.putting import put_bytes

PREFIX = "s3://models/many/"
names = st.lists(st.sampled_from(["0-a", "0-b", "1-c", "0-a.error", "1-c.error", ".tmp-1", "junk"]), unique=True)


@given(st.sets(st.sampled_from(["0-a", "0-b", "1-c"])), names)
def test_due(wants: set[str], there: list[str]):
    step = due(wants, there)
    assert all(name in wants and name not in there and f"{name}{ERROR}" not in there for name in step.fetch)
    left = (set(there) - set(step.remove)) | set(step.fetch)
    assert {name.removesuffix(ERROR) for name in left} == wants
    assert due(wants, sorted(left)).remove == ()


async def serving(world: World, **container: Any) -> TaskStatus:
    world.put_model_data("many/one.tar.gz", {"model.joblib": b"one"})
    world.make_model(uri=PREFIX, Mode="MultiModel", **container)
    world.make_config("c", variant())
    world.do("CreateEndpoint", EndpointName="e", EndpointConfigName="c")
    await world.bring_up()
    assert (await world.describe("e"))["EndpointStatus"] == "InService"
    (task,) = world.engine.tasks.values()
    folder(world, task).mkdir(parents=True)
    spec = world.engine.specs[task.id]
    assert (spec.runtime, spec.many_models) == ("", True)
    assert bool(spec.artifacts) == bool(spec.own_servers), "what models share comes with each of them"
    assert world.route("e").variants[0].many_models == ("primary",)
    return task


def folder(world: World, task: TaskStatus) -> Path:
    return world.home.tasks / task.id / MODELS


async def hear(world: World, task: TaskStatus, **wants: str) -> dict[str, Any]:
    """What lies in the task's folder once it wants this."""
    heard = replace(task, wants={name.replace("_", "-"): model for name, model in wants.items()})
    world.controller.supply.heard(heard)
    await world.controller.supply.settle()
    found: dict[str, Any] = {}
    for path in folder(world, task).iterdir():
        found[path.name] = json.loads(path.read_text()) if path.is_file() else sorted(f.name for f in path.iterdir())
    return found


async def test_what_is_wanted_comes_and_goes(world: World):
    task = await serving(world)
    assert await hear(world, task, _0_a="one.tar.gz") == {}, "no container of that place"
    assert await hear(world, task, **{"0_a": "one.tar.gz"}) == {"0-a": ["model.joblib"]}
    world.put_model_data("many/deep/two.tar.gz", {"x": b"two"})
    both = await hear(world, task, **{"0_a": "one.tar.gz", "0_b": "deep/two.tar.gz"})
    assert both == {"0-a": ["model.joblib"], "0-b": ["x"]}
    assert await hear(world, task, **{"0_b": "deep/two.tar.gz"}) == {"0-b": ["x"]}
    assert await hear(world, task) == {}


async def test_what_cannot_be_had_is_explained(world: World):
    task = await serving(world)
    put_bytes(world.objects, "models", "many/bad", b"no archive")
    found = await hear(
        world, task, **{"0_a": "absent.tar.gz", "0_b": "bad", "0_c": "../model.tar.gz", "9_d": "one.tar.gz"}
    )
    assert set(found) == {"0-a.error", "0-b.error", "0-c.error"}
    assert found["0-a.error"] == {
        "missing": True,
        "message": "Failed to download model data(bucket: models, key: many/absent.tar.gz). Please ensure that there "
        "is an object located at the URL and that the role passed to CreateModel has permissions to download "
        "the model.",
    }
    assert found["0-b.error"]["missing"] is False
    assert "not a gzip archive" in found["0-b.error"]["message"]
    assert found["0-c.error"]["missing"], "a key is a key: there is no way up"


async def test_unchanged_objects_are_not_read_again(world: World):
    task = await serving(world)
    await hear(world, task, **{"0_a": "one.tar.gz"})
    cached = sorted(path.name for path in world.home.artifacts.iterdir())
    again = await hear(world, task, **{"0_a": "one.tar.gz", "0_b": "one.tar.gz"})
    assert again["0-b"] == ["model.joblib"]
    assert sorted(path.name for path in world.home.artifacts.iterdir()) == cached
    world.put_model_data("many/one.tar.gz", {"changed": b""})
    later = await hear(world, task, **{"0_a": "one.tar.gz", "0_b": "one.tar.gz", "0_c": "one.tar.gz"})
    assert (later["0-a"], later["0-c"]) == (["model.joblib"], ["changed"])


async def test_a_new_control_process_goes_on(world: World):
    task = await serving(world)
    await hear(world, task, **{"0_a": "one.tar.gz"})
    (folder(world, task) / ".tmp-left").mkdir()
    world.restart_control()
    assert await hear(world, task, **{"0_b": "one.tar.gz"}) == {"0-b": ["model.joblib"]}


async def test_code_from_elsewhere_belongs_to_each_model(world: World):
    world.objects.create_bucket("models", "111122223333", "us-east-1")
    put_bytes(world.objects, "models", "code.tar.gz", packed({"inference.py": b""}))
    task = await serving(world, Environment={"SAGEMAKER_SUBMIT_DIRECTORY": "s3://models/code.tar.gz"})
    assert await hear(world, task, **{"0_a": "one.tar.gz"}) == {"0-a": ["code", "model.joblib"]}


async def test_an_own_server_finds_each_model_in_a_folder_and_is_made_of_the_rest(world: World):
    world.objects.create_bucket("models", "111122223333", "us-east-1")
    put_bytes(world.objects, "models", "code.tar.gz", packed({"serve": b""}))
    code = {"SAGEMAKER_SUBMIT_DIRECTORY": "s3://models/code.tar.gz"}
    task = await serving(world, Image="kedge/server", Environment=code)
    put_bytes(world.objects, "models", "many/bad", b"no archive")
    assert set(await hear(world, task, **{"0_a": "one.tar.gz", "0_b": "bad"})) == {"0-a", "0-b.error"}
    assert [path.name for path in (folder(world, task) / "0-a" / "model").iterdir()] == ["model.joblib"]
    (server,) = world.engine.specs[task.id].artifacts
    assert [path.name for path in (world.home.artifacts / server / "code").iterdir()] == ["serve"]


async def test_a_task_that_is_gone_is_forgotten(world: World):
    task = await serving(world)
    await hear(world, task, **{"0_a": "one.tar.gz"})
    world.controller.supply.heard(replace(task, state=TaskState.STOPPED))
    world.controller.supply.heard(replace(task, wants={}))
    await world.controller.supply.settle()
    assert (folder(world, task) / "0-a").is_dir(), "its folder goes with the task, by the engine"
