"""The probe: a request of the model's own that it has to answer before it gets anybody else's."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from kedge.serving.runtimes import likeness
from kedge.serving.runtimes.base import (
    Answer,
    Invocation,
    InvocationError,
    LoadError,
    Outcome,
    Runtime,
    Streamed,
    as_outcome,
)

FOLDER = "probe"
MAX_PROBE_BYTES = 6 * 1024 * 1024
_TYPES = {
    ".json": "application/json",
    ".csv": "text/csv",
    ".jsonl": "application/jsonlines",
    ".npy": "application/x-npy",
    ".libsvm": "text/libsvm",
    ".txt": "text/plain",
}


def probe(runtime: Runtime, artifact: Path) -> None:
    """Ask the model what the artifact's probe holds, if it has one.

    Raises LoadError when the model gives an error or another answer.
    """
    found = sample(artifact)
    if found is not None:
        found.check(next((each for group in runtime.answer([found.request]) for _, each in group), None))


@dataclass(frozen=True)
class Sample:
    """A probe: the request, and what its answer has to be."""

    request: Invocation
    request_file: Path
    response_file: Path | None = None

    def check(self, outcome: Outcome | None) -> None:
        """Raises LoadError for an error, for no answer, and for another answer than response_file holds."""
        name = f"{FOLDER}/{self.request_file.name}"
        if isinstance(outcome, Streamed):
            try:
                outcome = outcome.whole()
            except BaseException as error:  # noqa: BLE001 (as_outcome logs it)
                outcome = as_outcome(error)
        if outcome is None or isinstance(outcome, InvocationError):
            said = "nothing" if outcome is None else f"{outcome.status}: {outcome.message[:512]}"
            raise LoadError(f"The model was loaded, but answered {name} with {said}")
        if outcome.status >= 300:
            raise LoadError(f"The model was loaded, but answered {name} with status {outcome.status}.")
        if self.response_file is not None and not likeness.alike(outcome.body, _read(self.response_file)):
            raise LoadError(
                f"The model was loaded, but its answer to {name} is not that of {FOLDER}/{self.response_file.name}: "
                f"{_start(outcome)}"
            )


def sample(artifact: Path) -> Sample | None:
    """What the artifact's probe/request.* holds; None when there is no such file.

    The ending gives the content type; an unknown one is application/octet-stream. With a probe/response.*, whose ending
    gives the Accept, the answer has to be equal: JSON by value, numbers within 1e-6 of one another, anything else byte
    by byte. Raises LoadError for more than one of them, or one that is too large.
    """
    request = _probe_file(artifact, "request")
    if request is None:
        return None
    response = _probe_file(artifact, "response")
    accept = "" if response is None else _TYPES.get(response.suffix, "")
    content_type = _TYPES.get(request.suffix, "application/octet-stream")
    return Sample(Invocation(_read(request), content_type, accept), request, response)


def _probe_file(artifact: Path, stem: str) -> Path | None:
    found = sorted(path for path in (artifact / FOLDER).glob(f"{stem}.*") if path.is_file())
    if len(found) > 1:
        raise LoadError(f"{FOLDER} holds {', '.join(path.name for path in found)}; leave one.")
    return found[0] if found else None


def _read(path: Path) -> bytes:
    size = path.stat().st_size
    if size > MAX_PROBE_BYTES:
        raise LoadError(f"{FOLDER}/{path.name} has {size} bytes; at most {MAX_PROBE_BYTES} are allowed.")
    return path.read_bytes()


def _start(answer: Answer) -> str:
    return answer.body[:200].decode(errors="backslashreplace")
