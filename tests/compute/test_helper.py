"""One question, one answer: whatever a helper says besides."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from dataclasses import fields
from pathlib import Path

import pytest

from kedge.compute.children import Children
from kedge.compute.helper import Answer, Helper
from kedge.compute.linux import Capabilities

TWICE = """
import socket, sys
from kedge.compute.messages import receive_now, send_now
sock = socket.socket(fileno=int(sys.argv[-1]))
send_now(sock, {"ready": 1})
while (message := receive_now(sock, [])) is not None:
    number = message["number"]
    send_now(sock, {"answer": message["question"], "number": number})
    send_now(sock, {"error": "ended after its answer", "number": number})
"""


@pytest.fixture
async def helper(tmp_path: Path) -> AsyncIterator[Helper]:
    children = Children(Capabilities(**{each.name: False for each in fields(Capabilities)}), tied=False)
    made = Helper("helper", children, [sys.executable, "-c", TWICE], {}, tmp_path / "helper.log")
    process = made.spawn()
    yield made
    made.close()
    await children.ended(process)
    children.close()


async def test_a_second_answer_is_not_that_of_the_next_question(helper: Helper):
    for question in range(5):
        answer = await helper.ask({"question": question}, (), Answer.close)
        assert answer.message["answer"] == question
