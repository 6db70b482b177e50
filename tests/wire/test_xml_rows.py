"""Long lists are written in another way than short ones: it has to look the same."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from botocore.loaders import Loader
from botocore.model import ListShape, MapShape, ServiceModel, Shape, StructureShape

from kedge.wire.shapes import MANY, write
from kedge.wire.xml import XML_WRITER, element


def sample(shape: Shape, depth: int = 0) -> Any:
    """A value with every member; texts that have to be escaped."""
    if isinstance(shape, StructureShape):
        return {} if depth > 6 else {name: sample(member, depth + 1) for name, member in shape.members.items()}
    if isinstance(shape, ListShape):
        return [sample(shape.member, depth + 1)] * 2
    if isinstance(shape, MapShape):
        return {"k&": sample(shape.value, depth + 1)}
    match shape.type_name:
        case "integer" | "long":
            return 7
        case "float" | "double":
            return 1.5
        case "boolean":
            return True
        case "timestamp":
            return datetime(2030, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)
        case "blob":
            return b"\x00\xff"
        case _:
            return 'a<b>&"c"\r\n\x01é'


def lists(shape: Shape | None, seen: set[str]) -> list[ListShape]:
    if shape is None or shape.name in seen:
        return []
    seen.add(shape.name)
    if isinstance(shape, ListShape):
        return [shape, *lists(shape.member, seen)]
    if isinstance(shape, StructureShape):
        return [found for member in shape.members.values() for found in lists(member, seen)]
    return []


@pytest.mark.parametrize("service", ["s3", "iam", "sts", "cloudwatch"])
def test_a_long_list_looks_like_short_ones(service):
    model = ServiceModel(Loader().load_service_model(service, "service-2"), service)
    count = 0
    for operation in map(model.operation_model, model.operation_names):
        for shape in lists(operation.output_shape, set()):
            item = sample(shape.member)
            one = element("List", shape, write(shape, [item], XML_WRITER))
            many = element("List", shape, write(shape, [item] * MANY, XML_WRITER))
            inner = one.removeprefix("<List>").removesuffix("</List>")
            flattened = shape.serialization.get("flattened")
            assert many == (one * MANY if flattened else f"<List>{inner * MANY}</List>"), shape.name
            count += 1
    assert count > 0 or service == "sts"
