"""What the inference port answers by itself."""

from __future__ import annotations

import uuid
from random import Random

from kedge.serving.answers import RequestIds


def test_ids_are_counted_on_in_the_form_of_a_uuid():
    ids = RequestIds(Random(1))
    made = [ids.next() for _ in range(3 * 0x100)]
    first = int(made[0].replace("-", ""), 16)
    assert [int(each.replace("-", ""), 16) for each in made] == list(range(first, first + len(made)))
    assert made[0].endswith("-000000000001")
    assert all(str(uuid.UUID(each)) == each for each in made)


def test_every_maker_of_ids_begins_elsewhere():
    random = Random(1)
    assert RequestIds(random).next()[:23] != RequestIds(random).next()[:23]
