"""Captured records of a number and a text."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import numpy as np
import polars as pl

from kedge.minutes.frames import VariantKey
from kedge.monitoring.data_quality import statistics_file
from kedge.monitoring.profiles.profiling import profiled
from kedge.monitoring.reading.pieces import Piece, Values
from tests.monitoring.conftest import captured

SECRET = bytes(range(32))
WINE = VariantKey("000000000000", "us-east-1", "wine", "v")
PLANS = np.array(["basic", "plus", "pro"])


def statistics(random: np.random.Generator, rows: int = 20_000) -> bytes:
    """Of scores that were answered, and of the ages and plans that they were asked for."""
    columns = {
        "score": Values(pl.Series(random.random(rows))),
        "age": Values(pl.Series(random.normal(40, 10, rows))),
        "plan": Values(pl.Series(PLANS[random.choice(3, rows, p=[0.6, 0.3, 0.1])].tolist())),
    }
    return json.dumps(statistics_file.statistics(profiled([Piece(rows, columns)]))).encode()


def records(random: np.random.Generator, count: int, minute: int, shift: float = 0.0) -> list[bytes]:
    """minute: since 1970. shift: of ages."""
    at = time.strftime("%Y-%m-%dT%H:%M", time.gmtime(minute * 60))
    ages, plans = random.normal(40 + shift, 10, count), PLANS[random.choice(3, count, p=[0.6, 0.3, 0.1])]
    draw: Callable[[], float] = random.random
    return [
        captured(f"{draw():.6f}", f"{age:.6f},{plan}", at=f"{at}:{random.integers(60):02d}Z").encode() + b"\n"
        for age, plan in zip(ages, plans, strict=True)
    ]
