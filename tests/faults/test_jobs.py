"""A job goes on after its server's parts were killed, and each object is written once."""

from __future__ import annotations

import os
import signal
from collections import Counter
from pathlib import Path

from tests.async_inference.conftest import until
from tests.faults.conftest import Server
from tests.jobs.conftest import Jobs


class _Kedge:
    """What Jobs needs of a server."""

    def __init__(self, server: Server) -> None:
        self.client = server.client
        self.bucket = server.bucket
        self.role_arn = f"arn:aws:iam::{server.ready['account']}:role/kedge-execution-role"


def test_a_job_goes_on_after_kills_of_control_and_of_its_instance(tmp_path: Path):
    server = Server(tmp_path / "data").up()
    try:
        jobs = Jobs(_Kedge(server))
        jobs.s3.put_bucket_versioning(Bucket=server.bucket, VersioningConfiguration={"Status": "Enabled"})
        jobs.model("napping", NAP_S="0.1")
        for n in range(40):
            jobs.put(f"in/{n:02}.csv", b"sleep %d" % n)
        jobs.start("job", "in/", model="napping")
        until(lambda: len(jobs.outputs("job")) >= 5, "five outputs", 30)
        server.kill("control")
        until(lambda: len(jobs.outputs("job")) >= 12, "more of them", 30)
        for pid in server.pids("instance"):
            os.kill(pid, signal.SIGKILL)
        assert jobs.ended("job")["TransformJobStatus"] == "Completed"
        outputs = until(lambda: jobs.outputs("job"), "the outputs")
        assert outputs == {f"{n:02}.csv.out": b"SLEEP %d" % n for n in range(40)}
        versions = jobs.s3.list_object_versions(Bucket=server.bucket, Prefix="out/")["Versions"]
        assert set(Counter(each["Key"] for each in versions).values()) == {1}
        until(lambda: not server.pids("instance"), "the end of its instances")
    finally:
        server.down()
