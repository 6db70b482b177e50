"""What endpoints are said to serve, by what their instances say."""

from __future__ import annotations

import pytest

from kedge.compute.base import TaskState, TaskStatus
from kedge.endpoints.descriptions import image_tag, resolved_image
from kedge.endpoints.served import Served


def says(
    id_: str, serves: str, *, fleet: int = 1, variant: str = "v", state: TaskState = TaskState.READY
) -> TaskStatus:
    labels = {"uid": "u", "fleet": str(fleet), "variant": variant}
    return TaskStatus(id_, state, "", "", labels=labels, serves=serves)


@pytest.mark.parametrize(
    ("serves", "tag"),
    [
        ("", ""),
        ("compiling", ""),
        ("compiled (native)", "compiled-native"),
        ("original: KEDGE_COMPILE is off", "original"),
    ],
)
def test_an_instance_s_word_is_the_image_s_tag(serves: str, tag: str):
    assert image_tag(serves) == tag
    assert resolved_image("sklearn", tag) == "kedge/sklearn" + (f":{tag}" if tag else "")


def test_a_variant_has_a_tag_once_all_its_instances_say_the_same():
    served = Served()
    served.heard(says("a", "compiled (numpy)"))
    served.heard(says("b", "compiling"))
    served.heard(says("c", "original: slower", variant="w"))
    served.heard(says("d", "original: slower", fleet=2))
    assert served.tags("u") == {(1, "w"): "original", (2, "v"): "original"}
    served.heard(says("b", "compiled (numpy)"))
    assert served.tags("u")[1, "v"] == "compiled-numpy"


def test_an_instance_that_goes_or_starts_again_is_not_counted():
    served = Served()
    served.heard(says("a", "original: slower"))
    served.heard(says("b", "compiled (numpy)"))
    served.heard(says("a", "", state=TaskState.RESTARTING))
    assert served.tags("u") == {(1, "v"): "compiled-numpy"}
    served.heard(says("b", "compiled (numpy)", state=TaskState.STOPPED))
    assert served.tags("u") == {}
    served.heard(TaskStatus("job", TaskState.READY, "", "", serves="original"))
    assert served.tags("u") == {}
