"""What all of them serve: the benchmark's model, one predict function, one CSV parser."""

from __future__ import annotations

import asyncio
import io
import os
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import sklearn

from benchmarks.serving import works


def gbdt() -> Any:
    return joblib.load(gbdt_file())


def gbdt_file() -> Path:
    """The model; fitted once for each pair of versions, because a pickle fits one."""
    file = Path(os.environ["BENCH_FOLDER"]) / f"gbdt-{sklearn.__version__}-{np.__version__}.joblib"
    if not file.exists():
        temporary = file.with_suffix(f".{os.getpid()}")
        joblib.dump(works.model(), temporary)
        temporary.replace(file)
    return file


def predict(model: Any, rows: Any) -> list[float]:
    """P(class 1) of each row."""
    found: list[float] = model.predict_proba(np.asarray(rows, dtype=np.float64))[:, 1].tolist()
    return found


def parse_csv(body: bytes | str) -> Any:
    text = body if isinstance(body, str) else body.decode()
    return np.loadtxt(io.StringIO(text), delimiter=",", ndmin=2)


def predict_joined(model: Any, requests: list[Any]) -> list[list[float]]:
    """One call of the model for the rows of several requests; each request's answers."""
    found = iter(predict(model, [row for rows in requests for row in rows]))
    return [[next(found) for _ in rows] for rows in requests]


class Batcher:
    """The smallest dynamic batcher for an asyncio server that has none: what came while a batch ran is the next one."""

    def __init__(self, model: Any, max_requests: int = 64) -> None:
        self._model, self._max_requests = model, max_requests
        self._waiting: list[tuple[Any, asyncio.Future[list[float]]]] = []
        self._task: asyncio.Task[None] | None = None

    async def predict(self, rows: Any) -> list[float]:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[list[float]] = loop.create_future()
        self._waiting.append((rows, answer))
        if self._task is None:
            self._task = loop.create_task(self._run())
        return await answer

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            batch, self._waiting = self._waiting[: self._max_requests], self._waiting[self._max_requests :]
            answers = await loop.run_in_executor(None, predict_joined, self._model, [rows for rows, _ in batch])
            for (_, future), answer in zip(batch, answers, strict=True):
                future.set_result(answer)
        self._task = None
