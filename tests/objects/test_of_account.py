from __future__ import annotations

import pytest

from kedge.errors import AccessDenied, ValidationFailed
from kedge.objects.files import Objects
from kedge.objects.of_account import AccountObjects
from tests.objects.conftest import ACCOUNT
from tests.objects.putting import put_bytes


async def test_an_object_is_read_up_to_a_bound(objects: Objects):
    put_bytes(objects, "bucket", "a", b"hello")
    mine = AccountObjects(objects, ACCOUNT)
    assert await mine.read("s3://bucket/a", 5) == b"hello"
    with pytest.raises(ValidationFailed, match="s3://bucket/a has 5 bytes; at most 4 are read"):
        await mine.read("s3://bucket/a", 4)
    with pytest.raises(AccessDenied):
        await AccountObjects(objects, "999999999999").read("s3://bucket/a", 5)
