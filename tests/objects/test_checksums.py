from __future__ import annotations

import base64
import hashlib
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kedge.objects.checksums import TYPES, of_parts
from kedge.wire import checksums


def of(algorithm: str, data: bytes) -> str:
    digest = checksums.new(algorithm)
    digest.update(data)
    return base64.b64encode(digest.digest()).decode()


@pytest.mark.parametrize("algorithm", [name for name, kinds in TYPES.items() if "FULL_OBJECT" in kinds])
@given(parts=st.lists(st.binary(max_size=40), min_size=1, max_size=5))
def test_a_full_object_checksum_is_that_of_the_whole(algorithm, parts):
    pairs = [(of(algorithm, part), len(part)) for part in parts]
    assert of_parts(algorithm, "FULL_OBJECT", pairs) == of(algorithm, b"".join(parts))


def test_large_parts():
    parts = [bytes([n]) * 5_000_000 for n in range(3)]
    pairs = [(of("CRC32", part), len(part)) for part in parts]
    want = base64.b64encode(zlib.crc32(b"".join(parts)).to_bytes(4, "big")).decode()
    assert of_parts("CRC32", "FULL_OBJECT", pairs) == want


def test_a_composite_checksum_is_that_of_the_checksums():
    parts = [b"one", b"two"]
    raw = b"".join(hashlib.sha256(part).digest() for part in parts)
    want = base64.b64encode(hashlib.sha256(raw).digest()).decode() + "-2"
    assert of_parts("SHA256", "COMPOSITE", [(of("SHA256", part), 3) for part in parts]) == want


def test_a_type_that_an_algorithm_does_not_have():
    with pytest.raises(ValueError, match="SHA1"):
        of_parts("SHA1", "FULL_OBJECT", [(of("SHA1", b""), 0)])
