"""The store against a dict, with keys that would hurt a store that made paths of them."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from kedge.objects.files import Objects
from tests.objects.conftest import ACCOUNT, files_under
from tests.objects.putting import put_bytes

ODD = [
    "/",
    "//",
    "..",
    "../..",
    "/etc/passwd",
    "a",
    "a/",
    "a/b",
    "a/b/",
    ".",
    "",
    "\x00",
    "\n",
    "é",
    "\U0001f600",
    " ",
    "%2F",
    "+",
]
KEYS = st.one_of(
    st.sampled_from([key for key in ODD if key]),
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8),
    st.sampled_from(["x" * 1024, "é" * 512, "/" * 1024]),
)
BODIES = st.binary(max_size=50)


class StoreMachine(RuleBasedStateMachine):
    @initialize()
    def open(self):
        self.folder = Path(tempfile.mkdtemp())
        self.store = Objects(self.folder, durable=False)
        self.store.create_bucket("bucket", ACCOUNT, "us-east-1")
        self.model: dict[str, bytes] = {}

    @rule(key=KEYS, body=BODIES)
    def put(self, key, body):
        put_bytes(self.store, "bucket", key, body)
        self.model[key] = body

    @rule(key=KEYS)
    def delete(self, key):
        self.store.deletions.delete("bucket", key)
        self.model.pop(key, None)

    @rule(source=KEYS, to=KEYS)
    def copy(self, source, to):
        if source in self.model:
            body = self.store.open_body("bucket", source)
            self.store.copy(body, "bucket", to, body.info.attributes)
            body.close()
            self.model[to] = self.model[source]

    @rule(key=KEYS)
    def get(self, key):
        info = self.store.head("bucket", key)
        assert (info is not None) == (key in self.model)
        if info is not None:
            with self.store.open("bucket", key) as file:
                assert file.read() == self.model[key]

    @rule(prefix=st.text(alphabet="a/.é", max_size=2))
    def list(self, prefix):
        want = sorted((key for key in self.model if key.startswith(prefix)), key=str.encode)
        assert list(self.store.list_keys("bucket", prefix)) == want

    @rule()
    def open_again(self):
        self.store.close()
        self.store = Objects(self.folder, durable=False)

    @rule()
    def count_files(self):
        """One for each object, and none outside the folder of bodies."""
        assert len(files_under(self.folder)) == len(self.model)
        assert {path.name for path in self.folder.iterdir()} <= {
            "bodies", "lock", "guests", "guests-gate", "index.db", "index.db-wal", "index.db-shm",
        }  # fmt: skip

    def teardown(self):
        if hasattr(self, "folder"):
            self.count_files()
            self.store.close()
            shutil.rmtree(self.folder)


StoreMachine.TestCase.settings = settings(max_examples=10, stateful_step_count=20, deadline=None)
TestStore = StoreMachine.TestCase
