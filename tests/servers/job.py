#!/usr/bin/env python
"""A job's program in an image of its own: does as its first argument says."""

import json
import os
import pathlib
import signal
import sys
import time
import urllib.request

ML = pathlib.Path("/opt/ml")


def sums(*words):
    """Of the columns of what it is given; also what it was told."""
    found = {each.name: sum(map(int, each.read_text().split(","))) for each in sorted(ML.glob("processing/data/*.csv"))}
    (ML / "processing/out/deep").mkdir()
    (ML / "processing/out/deep/sums.json").write_text(json.dumps(found))
    config = json.loads((ML / "config/processingjobconfig.json").read_text())
    told = [config["ProcessingJobName"], os.environ["COLOUR"], os.environ["LINES"], list(words), os.getpid()]
    (ML / "processing/out/told.json").write_text(json.dumps(told))
    (ML / "output/message").write_text("all is well")
    print("a line of the log")


def keys():
    """Who it may say that it is."""
    token = os.environ["AWS_CONTAINER_AUTHORIZATION_TOKEN"]
    url = os.environ["AWS_CONTAINER_CREDENTIALS_FULL_URI"]
    with urllib.request.urlopen(urllib.request.Request(url, headers={"Authorization": token}), timeout=5) as answer:
        (ML / "output/message").write_text(json.loads(answer.read())["AccessKeyId"][:4])


def train():
    rate = json.loads((ML / "input/config/hyperparameters.json").read_text())["rate"]
    rows = (ML / "input/data/train/rows.csv").read_text()
    print("loss=0.25")
    (ML / "model/model.json").write_text(json.dumps([rate, rows, os.environ["TRAINING_JOB_NAME"]]))


def wait():
    """Until it is asked to end."""

    def end(*_):
        print("asked to end", flush=True)
        sys.exit(0)

    signal.signal(signal.SIGTERM, end)
    (ML / "processing/out/begun.txt").write_text("begun")
    time.sleep(600)


def hold():
    """Until its file is there, which says that it may end."""
    (ML / "processing/out/begun.txt").write_text("begun")
    while not (ML / "processing/out/go").exists():
        time.sleep(0.02)
    (ML / "output/message").write_text("held on")


def fill(size):
    held = bytearray(int(size))
    held[:: os.sysconf("SC_PAGE_SIZE")] = b"x" * len(held[:: os.sysconf("SC_PAGE_SIZE")])


def fail():
    print("so far", flush=True)
    raise ValueError("no such column")


def say(code):
    (ML / "output/failure").write_text("the data is stale")
    sys.exit(int(code))


word, *rest = [*sys.argv[1:], "train"] if len(sys.argv) == 1 else sys.argv[1:]
{each.__name__: each for each in (sums, keys, train, wait, hold, fill, fail, say)}[word](*rest)
