"""Model archives, good and hostile."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import os
import stat
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kedge.models import artifact
from kedge.models.archive import Limits
from kedge.models.artifact import ArtifactError, Fetching
from kedge.models.records import Form, Source
from kedge.objects.files import Objects
from tests.objects.putting import put_bytes

ACCOUNT = "111122223333"
URI = "s3://models/m.tar.gz"


@pytest.fixture
def objects(tmp_path: Path) -> Iterator[Objects]:
    (tmp_path / "objects").mkdir()
    opened = Objects(tmp_path / "objects", durable=False)
    opened.create_bucket("models", ACCOUNT, "us-east-1")
    yield opened
    opened.close()


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "artifacts"


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "", mode: int = 0o644) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname, made.mode = kind, link, mode
    return made


def archive(*members: tarfile.TarInfo | tuple[tarfile.TarInfo, bytes], form: int = tarfile.PAX_FORMAT) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", format=form) as made:
        for each in members:
            info, data = each if isinstance(each, tuple) else (each, b"")
            info.size = len(data)
            made.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def put(objects: Objects, data: bytes) -> None:
    put_bytes(objects, "models", "m.tar.gz", data)


def fetch(objects: Objects, cache: Path, **more: object) -> artifact.Artifact:
    return fetch_from(objects, cache, Source(URI), **more)


def fetch_from(
    objects: Objects, cache: Path, *sources: Source, account: str = ACCOUNT, timeout_s: float = 60.0, **more: object
) -> artifact.Artifact:
    fetching = Fetching(objects, cache, account, **{"durable": False, **more})  # type: ignore[arg-type]
    return fetching.fetch(sources, timeout_s)


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
def test_an_archive_is_unpacked_under_its_hash(objects: Objects, cache: Path, form: int):
    data = archive(
        member("./", tarfile.DIRTYPE),
        (member("model.joblib"), b"first"),
        (member("./code/inference.py", mode=0o755), b"def model_fn(d): ..."),
        member("empty", tarfile.DIRTYPE),
        (member("model.joblib"), b"the last of a name wins"),
        (member("d/" * 30 + "n" * 40), b"x" * 100_000),
        form=form,
    )
    put(objects, data)
    made = fetch(objects, cache, durable=True)
    assert made.sha256 == hashlib.sha256(data).hexdigest()
    assert made.path == cache / made.sha256
    assert (made.path / "model.joblib").read_bytes() == b"the last of a name wins"
    assert (made.path / "empty").is_dir()
    assert stat.S_IMODE((made.path / "code/inference.py").stat().st_mode) & 0o100
    assert not stat.S_IMODE((made.path / "model.joblib").stat().st_mode) & 0o111
    assert artifact.present(cache, made.sha256)
    inode = made.path.stat().st_ino
    assert fetch(objects, cache) == made
    assert made.path.stat().st_ino == inode
    assert [entry.name for entry in cache.iterdir()] == [made.sha256]


def test_no_source_is_an_empty_folder(objects: Objects, cache: Path):
    made = fetch_from(objects, cache)
    assert list(made.path.iterdir()) == []


ATTACKS: list[tuple[str, Callable[[], bytes], str]] = [
    ("parent", lambda: archive((member("../evil"), b"x")), '"../evil" in it would lie outside'),
    ("hidden parent", lambda: archive((member("a/../../evil"), b"x")), "would lie outside"),
    ("absolute", lambda: archive((member("/etc/evil"), b"x")), '"/etc/evil" in it would lie outside'),
    ("symlink", lambda: archive(member("l", tarfile.SYMTYPE, "/etc/passwd")), 'is a link to "/etc/passwd"'),
    (
        "through a symlink",
        lambda: archive(member("d", tarfile.SYMTYPE, "/tmp"), (member("d/evil"), b"x")),
        '"d" in it is a link to "/tmp"',
    ),
    ("hard link", lambda: archive(member("l", tarfile.LNKTYPE, "../x")), "is a link to"),
    ("fifo", lambda: archive(member("p", tarfile.FIFOTYPE)), "is a device or pipe"),
    ("device", lambda: archive(member("b", tarfile.BLKTYPE)), "is a device or pipe"),
    ("file over folder", lambda: archive((member("a/b"), b"x"), (member("a"), b"y")), "is a file where a folder is"),
    ("file as the root", lambda: archive((member("."), b"y")), "is a file where a folder is"),
    ("folder over file", lambda: archive((member("a"), b"x"), (member("a/b"), b"y")), "needs a folder where a file is"),
    ("many members", lambda: archive(*(member(f"d{n}", tarfile.DIRTYPE) for n in range(30))), "more than 20 members"),
    ("too large", lambda: archive((member("a"), os.urandom(300_000))), "more than 262144 bytes"),
    ("bomb", lambda: archive((member("a"), bytes(200_000))), "expands more than 10 times"),
    ("bomb behind the end", lambda: gzip.compress(bytes(240_000)), "expands more than 10 times"),
    ("long header", lambda: archive((member("n" * 5000), b"")), "a member's header has"),
    ("long name", lambda: archive((member("n" * 2000), b"x")), 'nnnn..." in it has a name of 2000 characters; at most'),
    ("deep", lambda: archive((member("d/" * 300 + "x"), b"x")), 'd/d/..." in it lies 300 folders deep; at most 100'),
    ("deep folder", lambda: archive(member("d/" * 500, tarfile.DIRTYPE)), "folders deep; at most 100"),
    ("plain", lambda: b"hello", "not a gzip archive"),
    ("zip", lambda: b"PK\3\4" + bytes(100), "not a gzip archive"),
    ("gzip of no tar", lambda: gzip.compress(b"hello" * 500), "no readable tar archive"),
    ("nothing", lambda: b"", "no readable tar archive"),
    ("cut off", lambda: archive((member("a"), os.urandom(50_000)))[:-20_000], "cut off"),
    ("cut off in the check sum", lambda: archive((member("a"), os.urandom(50_000)))[:-4], "cut off"),
    ("turned bit", lambda: _turned(archive((member("a"), os.urandom(50_000)))), "it is damaged"),
]


def _turned(data: bytes) -> bytes:
    return data[:-8] + bytes([data[-8] ^ 1]) + data[-7:]


@pytest.mark.parametrize(("attack", "make", "says"), ATTACKS, ids=[each[0] for each in ATTACKS])
def test_what_is_no_model_leaves_nothing(
    objects: Objects,
    cache: Path,
    tmp_path: Path,
    attack: str,
    make: Callable[[], bytes],
    says: str,
):
    put(objects, make())
    limits = Limits(expanded_bytes=256 * 1024, members=20, ratio=10, ratio_from_bytes=100_000, header_bytes=4096)
    with pytest.raises(ArtifactError) as caught:
        fetch(objects, cache, limits=limits)
    assert str(caught.value).startswith(f"Model data at {URI} cannot be used: ")
    assert says in str(caught.value)
    assert list(cache.iterdir()) == []
    assert not (tmp_path / "evil").exists()


def test_a_sparse_file_is_refused(objects: Objects, cache: Path):
    """Written by GNU tar as a few bytes that stand for as many as one likes."""
    header = member("hole", tarfile.GNUTYPE_SPARSE).tobuf(tarfile.GNU_FORMAT)
    put(objects, gzip.compress(header + bytes(10_240)))
    with pytest.raises(ArtifactError, match="sparse file"):
        fetch(objects, cache)


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("s3://models/absent", "Could not find model data at s3://models/absent."),
        ("s3://absent/m", "Could not find model data at s3://absent/m."),
        ("s3://models", "has to be s3://BUCKET/KEY"),
        ("s3:///k", "has to be s3://BUCKET/KEY"),
        ("https://models/m", "has to be s3://BUCKET/KEY"),
    ],
)
def test_what_is_not_there(objects: Objects, cache: Path, uri: str, says: str):
    with pytest.raises(ArtifactError) as caught:
        fetch_from(objects, cache, Source(uri))
    assert says in str(caught.value)


def test_a_key_is_taken_as_it_is(objects: Objects, cache: Path):
    data = archive((member("a"), b"x"))
    put_bytes(objects, "models", "a b?c#d%20.tar.gz", data)
    made = fetch_from(objects, cache, Source("s3://models/a b?c#d%20.tar.gz"))
    assert made.sha256 == hashlib.sha256(data).hexdigest()


def test_another_accounts_bucket_is_not_read(objects: Objects, cache: Path):
    put(objects, archive((member("a"), b"x")))
    with pytest.raises(ArtifactError, match="another account"):
        fetch(objects, cache, account="999999999999")


def test_it_takes_only_so_long(objects: Objects, cache: Path):
    put(objects, archive((member("a"), b"x")))
    times = iter(range(0, 1000, 40))
    with pytest.raises(ArtifactError, match="longer than 60 s"):
        fetch(objects, cache, timeout_s=60.0, monotonic_s=lambda: float(next(times)))


def test_it_can_be_stopped(objects: Objects, cache: Path):
    put(objects, archive((member("a"), b"x")))
    with pytest.raises(ArtifactError, match="was stopped"):
        fetch(objects, cache, go_on=lambda: False)
    assert list(cache.iterdir()) == []


def test_what_nobody_uses_is_collected(objects: Objects, cache: Path):
    put(objects, archive((member("a"), b"x")))
    kept = fetch(objects, cache)
    put(objects, archive((member("a"), b"y")))
    unused = fetch(objects, cache)
    (cache / ".tmp-left").mkdir()
    gone = artifact.collect(cache, {kept.sha256})
    assert not artifact.present(cache, unused.sha256)
    artifact.remove(gone)
    assert [entry.name for entry in cache.iterdir()] == [kept.sha256]


@given(st.data())
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_damaged_header_is_one_sentence(objects: Objects, cache: Path, data: st.DataObject):
    """Whatever stands in the headers: an artifact, or an ArtifactError that is told to the caller."""
    plain = bytearray(gzip.decompress(archive((member("n" * 150), b"x"), (member("b"), b"y"))))
    for _ in range(data.draw(st.integers(1, 4))):
        plain[data.draw(st.integers(0, len(plain) - 1))] = data.draw(st.integers(0, 255))
    for at in range(0, len(plain), 512):  # with the check sums of headers made right again
        block = plain[at : at + 512]
        if block[257:262] == b"ustar":
            total = sum(block[:148]) + sum(block[156:]) + 8 * 32
            plain[at + 148 : at + 156] = b"%06o\0 " % total
    put(objects, gzip.compress(bytes(plain)))
    with contextlib.suppress(ArtifactError):
        fetch(objects, cache)


PREFIX = Source("s3://models/p/", Form.PREFIX)


def put_files(objects: Objects, *keys: str, data: bytes = b"") -> None:
    for key in keys:
        put_bytes(objects, "models", key, data or (b"" if key.endswith("/") else key.encode()))


def files_in(made: artifact.Artifact) -> dict[str, str]:
    return {str(f.relative_to(made.path)): f.read_text() for f in made.path.rglob("*") if f.is_file()}


def test_every_object_of_a_prefix_is_a_file(objects: Objects, cache: Path):
    put_files(objects, "p/", "p/a", "p/sub/", "p/sub/b c", "p/sub/deep/d", "pp", "p")
    made = fetch_from(objects, cache, PREFIX, durable=True)
    assert files_in(made) == {"a": "p/a", "sub/b c": "p/sub/b c", "sub/deep/d": "p/sub/deep/d"}
    assert fetch_from(objects, cache, PREFIX) == made
    put_files(objects, "p/a", data=b"other")
    assert fetch_from(objects, cache, PREFIX) != made
    one = fetch_from(objects, cache, Source("s3://models/p/sub/b c", Form.OBJECT))
    assert files_in(one) == {"b c": "p/sub/b c"}
    root = fetch_from(objects, cache, Source("s3://models/pp", Form.OBJECT))
    assert files_in(root) == {"pp": "pp"}


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        (["p/../evil"], '"../evil" in it is no name'),
        (["p/a/../../evil"], "is no name"),
        (["p//etc/evil"], "is no name"),
        (["p/./a"], "is no name"),
        (["p/a//b"], "is no name"),
        (["p/ "], "is no name"),
        (["p/" + "n" * 256], "is no name"),
        (["p/a", "p/a/b"], "needs a folder where a file is"),
        ([f"p/{n}" for n in range(6)], "more than 5 objects"),
        (["p/large"], "more than 100 bytes"),
    ],
)
def test_a_prefix_that_no_folder_can_hold(objects: Objects, cache: Path, tmp_path: Path, keys: list[str], says: str):
    for key in keys:
        put_files(objects, key, data=bytes(101) if key.endswith("large") else b"x")
    with pytest.raises(ArtifactError) as caught:
        fetch_from(objects, cache, PREFIX, limits=Limits(expanded_bytes=100, members=5))
    assert says in str(caught.value)
    assert str(caught.value).startswith("Model data at s3://models/p/ cannot be used: ")
    assert list(cache.iterdir()) == []
    assert not (tmp_path / "evil").exists()


def test_a_marker_that_holds_something_is_refused(objects: Objects, cache: Path):
    put_files(objects, "p/sub/", data=b"x")
    with pytest.raises(ArtifactError, match="ends with a slash and is not empty"):
        fetch_from(objects, cache, PREFIX)
    with pytest.raises(artifact.NotThere, match="Could not find model data at s3://models/q/"):
        fetch_from(objects, cache, Source("s3://models/q/", Form.PREFIX))


def test_several_sources_are_one_folder(objects: Objects, cache: Path):
    put(objects, archive((member("w"), b"w"), (member("code/old.py"), b"old"), (member("d/e/f"), b"f")))
    put_bytes(objects, "models", "code.tar.gz", archive((member("inference.py"), b"new")))
    put_files(objects, "p/a/b")
    code = Source("s3://models/code.tar.gz", folder="code")
    channel = Source("s3://models/p/", Form.PREFIX, "adapter")
    made = fetch_from(objects, cache, Source(URI), channel, code, durable=True)
    assert files_in(made) == {"w": "w", "d/e/f": "f", "code/inference.py": "new", "adapter/a/b": "p/a/b"}
    assert fetch_from(objects, cache, Source(URI), channel, code) == made
    plain = fetch(objects, cache)
    assert (made.path / "w").stat().st_ino == (plain.path / "w").stat().st_ino, "files are shared, not copied"
    artifact.remove(artifact.collect(cache, {made.sha256}))
    assert files_in(made)["w"] == "w"
    assert files_in(fetch_from(objects, cache, code)) == {"code/inference.py": "new"}
    with pytest.raises(ArtifactError, match='the folder "d", which something else has taken'):
        fetch_from(objects, cache, Source(URI), Source("s3://models/p/", Form.PREFIX, "d"))
