"""Every action that the permissions of S3's operations ask for is one that a bucket policy may name."""

from __future__ import annotations

from kedge.identity import actions
from kedge.objects import known_actions


def test_whatever_an_operation_needs_is_known():
    asked = {*actions._S3_ACTIONS.values(), *actions._OF_VERSIONS.values()}
    assert {f"s3:{name}".lower() for name in asked} <= known_actions.KNOWN


def test_each_is_of_one_kind():
    kinds = (known_actions.ON_BUCKETS, known_actions.ON_OBJECTS, known_actions.ELSEWHERE)
    assert sum(map(len, kinds)) == len(known_actions.KNOWN)
