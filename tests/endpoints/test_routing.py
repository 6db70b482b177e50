from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from kedge.config import Settings
from kedge.endpoints import routing
from kedge.endpoints.records import Container, Endpoint, Fleet, Status, Variant, instance_id
from kedge.identity.records import AccessKey
from kedge.serving import table as tables
from kedge.store.records import Resource, Scope

AT = datetime(2026, 1, 1, tzinfo=UTC)
SETTINGS = Settings()


def variant(name: str, current: int, desired: int, weight: float = 1.0, **environment: str) -> Variant:
    return Variant(
        name=name,
        model="m",
        containers=(Container("primary", "kedge/sklearn", "sklearn", environment=environment),),
        instance_type="ml.m5.large",
        cores=2,
        memory_bytes=8,
        gpus=0,
        desired_count=desired,
        desired_weight=weight,
        current_count=current,
        current_weight=9.0,
        routing="LEAST_OUTSTANDING_REQUESTS",
    )


def resource(status: Status, *variants: Variant, name: str = "E") -> Resource:
    live = Fleet(3, "c", 0.0, variants) if variants else None
    pending = Fleet(4, "d", 0.0, (variant("p", 0, 1),))
    record = Endpoint(name, f"uid-{name}", "c", 4, live, pending)
    return Resource(Scope("1" * 12, "us-east-1"), "endpoint", name.lower(), 1, record.document(), status, AT, AT)


def build(*resources: Resource, keys: list[AccessKey] | None = None, **more: Any) -> tables.RoutingTable:
    return routing.build(
        resources,
        keys or [],
        replace(SETTINGS, **more),
        7,
        seal_key=b"\xab" * 32,
        default_scope=("1" * 12, "us-east-1"),
        socket=lambda id_: f"/s/{id_}",
    )


def test_the_live_fleet_with_the_weights_that_are_wanted():
    built = build(resource(Status.UPDATING, variant("a", 2, 3, 0.25), variant("b", 3, 1)))
    route = built.find("1" * 12, "us-east-1", "E")
    assert route is not None
    assert route.arn.endswith(":endpoint/e")
    a, b = route.variants
    assert (a.weight, b.weight, a.routing) == (0.25, 1.0, "LEAST_OUTSTANDING_REQUESTS")
    assert [i.id for i in a.instances] == [instance_id("uid-E", 3, "a", at) for at in range(2)]
    assert [i.socket for i in b.instances] == [f"/s/{instance_id('uid-E', 3, 'b', 0)}"]
    assert tables.decode(tables.encode(built)) == built
    assert routing.version_of(tables.encode(built)) == 7
    assert routing.instances_of(built) == {i.id for v in (a, b) for i in v.instances}


@pytest.mark.parametrize(
    ("status", "want"),
    [
        (Status.CREATING, True),
        (Status.IN_SERVICE, True),
        (Status.UPDATING, True),
        (Status.FAILED, False),
        (Status.DELETING, False),
    ],
)
def test_who_may_be_invoked(status: Status, want: bool):
    assert bool(build(resource(status, variant("a", 1, 1))).endpoints) is want
    assert not build(resource(status)).endpoints


def test_by_what_metrics_are_told():
    plain = resource(Status.IN_SERVICE, variant("a", 1, 1))
    [route] = build(plain).endpoints
    assert (route.metrics_by, route.variants[0].instances[0].config) == ((), "c")
    live = {**plain.document["live"], "echo": {"MetricsConfig": {"EnableEnhancedMetrics": True}}}
    updated = {**plain.document, "live": live, "deployment": {"BlueGreenUpdatePolicy": {}}}
    [route] = build(replace(plain, document=updated)).endpoints
    assert route.metrics_by == (tables.BY_CONFIG, tables.BY_INSTANCE)
    assert tables.decode(tables.encode(build(replace(plain, document=updated)))).endpoints == (route,)


def test_order_and_version_do_not_make_a_new_table():
    one, two = (resource(Status.IN_SERVICE, variant("a", 1, 1), name=name) for name in "XY")
    assert routing.content(build(one, two)) == routing.content(replace(build(two, one), version=8))
    assert routing.content(build(one)) != routing.content(build(two))
    assert routing.version_of(b"no table") == 0


def test_only_lasting_keys_are_listed():
    root = AccessKey("AKIA", "s", "1" * 12, "arn:aws:iam::1:root", "1")
    built = build(keys=[root, replace(root, access_key_id="ASIA", expires_at=AT)], auth_required=False)
    assert [key.access_key_id for key in built.keys] == ["AKIA"]
    assert (built.auth_required, built.default_account, built.seal_key) == (False, "1" * 12, "ab" * 32)


@pytest.mark.parametrize(
    ("environment", "want"),
    [
        ({}, (60.0, 26_214_400, True)),
        ({"SAGEMAKER_MODEL_SERVER_TIMEOUT": "120"}, (120.0, 26_214_400, True)),
        ({"SAGEMAKER_MODEL_SERVER_TIMEOUT_SECONDS": "0.5"}, (0.5, 26_214_400, True)),
        ({"SAGEMAKER_MODEL_SERVER_TIMEOUT": "never"}, (60.0, 26_214_400, True)),
        ({"SAGEMAKER_MODEL_SERVER_TIMEOUT": "NaN"}, (60.0, 26_214_400, True)),
        ({"SAGEMAKER_MODEL_SERVER_TIMEOUT": "-1"}, (60.0, 26_214_400, True)),
        ({"SAGEMAKER_MODEL_SERVER_TIMEOUT": "true"}, (60.0, 26_214_400, True)),
        ({"SAGEMAKER_MODEL_SERVER_TIMEOUT": "99999"}, (60.0, 26_214_400, True)),
        ({"SAGEMAKER_MAX_PAYLOAD_IN_MB": "6"}, (60.0, 6_291_456, True)),
        ({"KEDGE_RETRIES": "off"}, (60.0, 26_214_400, False)),
        ({"KEDGE_RETRIES": "1"}, (60.0, 26_214_400, True)),
    ],
)
def test_a_models_environment_sets_limits(environment: dict[str, str], want: tuple[float, int, bool]):
    built = build(resource(Status.IN_SERVICE, variant("a", 1, 1, **environment), variant("b", 1, 1)))
    (route,) = built.endpoints
    assert (route.timeout_s, route.body_limit_bytes, route.retries) == want


@pytest.mark.parametrize(("wish", "want_s"), [("30", 30.0), ("3600", 3600.0), ("3601", 480.0), ("soon", 480.0)])
def test_a_models_environment_sets_the_time_for_all_parts(wish: str, want_s: float):
    (route,) = build(resource(Status.IN_SERVICE, variant("a", 1, 1, KEDGE_STREAM_TIMEOUT_S=wish))).endpoints
    assert route.stream_timeout_s == want_s
