"""Other clients in Python."""

from __future__ import annotations


def test_aiobotocore(machine, artifacts):
    machine.program("aiobotocore", "aio", artifacts / "whole.tar.gz")


def test_s3fs_smart_open_and_pandas(machine):
    machine.program("files", "frames")
