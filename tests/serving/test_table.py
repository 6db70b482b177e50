"""What releases before and after this one may find in a table."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from kedge.serving import table as tables
from kedge.serving.table import Endpoint, Instance, RoutingTable, TableRefused, Variant

OLD, NEW = Instance("i-1", "/1", "c1"), Instance("i-2", "/2", "c2")
ALONE = Variant("v", 1.0, (OLD,))
SHARED = replace(ALONE, new=(NEW,), new_share=0.25)


def of(variant: Variant) -> RoutingTable:
    return RoutingTable(7, (Endpoint("1", "r", "e", "arn", (variant,)),))


def test_it_comes_back_as_it_was():
    for variant in (ALONE, SHARED):
        assert tables.decode(tables.encode(of(variant))) == of(variant)


def test_outside_of_a_deployment_it_has_no_member_that_an_earlier_release_does_not_know():
    (endpoint,) = json.loads(tables.encode(of(ALONE)))["endpoints"]
    assert endpoint["variants"][0].keys() == {"name", "weight", "instances", "routing", "hostnames", "many_models"}


def test_what_a_later_release_says_of_a_variant_is_left_out():
    said = json.loads(tables.encode(of(ALONE)))
    said["endpoints"][0]["variants"][0]["colour"] = "green"
    assert tables.decode(json.dumps(said).encode()) == of(ALONE)


def test_a_share_is_a_part():
    with pytest.raises(TableRefused, match="a share that is not from 0 to 1"):
        tables.decode(tables.encode(of(replace(SHARED, new_share=1.5))))


def test_components_are_found_by_keys_of_their_own_and_only_then_told_of():
    host = Endpoint("1", "r", "e", "arn", (), by_component=True)
    component = Endpoint("1", "r", "e", "arn:c", (ALONE,), component="c")
    table = tables.decode(tables.encode(RoutingTable(7, (host, component))))
    assert table.find("1", "r", "e") == host
    assert table.find("1", "r", "e/c") == component
    (plain,) = json.loads(tables.encode(of(ALONE)))["endpoints"]
    assert not {"component", "by_component"} & plain.keys()
