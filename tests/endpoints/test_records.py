"""Records of other releases: earlier ones are read as they were meant, later ones as far as they are known."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from kedge.endpoints.records import Container, Endpoint, Fleet, Variant
from kedge.models.records import Form, Source

OLD_VARIANT = {
    "name": "v", "model": "m", "image": "kedge/sklearn", "runtime": "sklearn", "model_data_url": "s3://b/k",
    "environment": {"A": "1"}, "instance_type": "ml.m5.large", "cores": 2.0, "memory_bytes": 8, "gpus": 0,
    "desired_count": 2, "desired_weight": 1.0, "current_count": 1, "current_weight": 0.5, "routing": "RANDOM",
    "start_timeout_s": None, "download_timeout_s": 60.0, "artifact_sha256": "ab", "echo": {},
}  # fmt: skip
OLD = {
    "name": "E", "uid": "u", "config": "c", "fleets": 1, "pending": None, "failure_reason": "", "deployment": None,
    "live": {
        "number": 1, "config": "c", "created_at_s": 5.0, "problem": "", "echo": {}, "variants": [OLD_VARIANT],
    },
}  # fmt: skip


def whole() -> Endpoint:
    containers = (
        Container("a", "i", "script", (Source("s3://b/p/", Form.PREFIX, "x"),), {"B": "2"}, artifact_sha256="cd"),
        Container("b", "j", "sklearn", (), {}, "s3://b/many/", False),
    )
    variant = Variant("v", "m", containers, "ml.m5.large", 2.0, 8, 1, 1, 1.0, direct=True, execution_role="arn")
    return Endpoint("E", "u", "c", 2, Fleet(1, "c", 0.0, (variant,)), Fleet(2, "d", 1.0, (variant,), "no"))


def stored(endpoint: Endpoint) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(json.dumps(endpoint.document()))
    return found


def test_a_record_of_the_first_release():
    endpoint = Endpoint.of(OLD)
    assert endpoint.live is not None
    (variant,) = endpoint.live.variants
    assert variant.containers == (
        Container("primary", "kedge/sklearn", "sklearn", (Source("s3://b/k"),), {"A": "1"}, artifact_sha256="ab"),
    )
    assert (variant.desired_count, variant.download_timeout_s, variant.direct) == (2, 60.0, False)
    assert Endpoint.of(stored(endpoint)) == endpoint
    without_data = {**OLD, "live": {**OLD["live"], "variants": [{**OLD_VARIANT, "model_data_url": ""}]}}  # type: ignore[dict-item]
    live = Endpoint.of(without_data).live
    assert live is not None
    assert live.variants[0].containers[0].sources == ()


def test_what_is_written_is_read():
    assert Endpoint.of(stored(whole())) == whole()


def test_what_a_later_release_adds_is_left_out():
    document = stored(whole())
    document["colour"] = "red"
    document["live"]["season"] = 1
    document["live"]["variants"][0]["depth"] = {}
    document["live"]["variants"][0]["containers"][0]["taste"] = []
    document["live"]["variants"][0]["containers"][0]["sources"][0]["smell"] = None
    assert Endpoint.of(document) == whole()


def test_members_that_are_missing_have_their_defaults():
    document = stored(whole())
    for name in ("fleets", "failure_reason", "deployment", "pending"):
        del document[name]
    assert Endpoint.of(document) == replace(whole(), fleets=1, pending=None)


def test_prepared_containers():
    endpoint = whole().prepared(1, {("v", "a"): "ef", ("v", "other"): "x"})
    assert endpoint.live is not None
    assert endpoint.pending is not None
    variant = endpoint.live.variants[0]
    assert (variant.artifacts, variant.is_prepared) == ({"ef"}, True)
    assert endpoint.pending.variants[0].artifacts == {"cd"}
    bare = replace(variant, containers=tuple(replace(each, artifact_sha256="") for each in variant.containers))
    assert (bare.artifacts, bare.is_prepared) == (frozenset(), False)
