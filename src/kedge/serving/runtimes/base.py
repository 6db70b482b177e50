"""What a runtime is: it holds one loaded model and maps a batch of requests to a batch of outcomes."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Generator, Iterator, Sequence
from typing import ClassVar, NamedTuple, Protocol

log = logging.getLogger(__name__)


class Invocation(NamedTuple):
    """One request as the instance sees it. An absent header is the empty string."""

    body: bytes
    content_type: str = ""
    accept: str = ""
    custom_attributes: str = ""
    inference_id: str = ""
    target_model: str = ""
    request_id: str = ""
    session_id: str = ""
    """NEW_SESSION where one is to be opened."""
    enable_explanations: str = ""
    """Which records of the answer are to be explained, where an explainer is beside the model."""


class Answer(NamedTuple):
    body: bytes
    content_type: str
    custom_attributes: str = ""
    status: int = 200
    session: tuple[tuple[str, str], ...] = ()
    """As frames.Session."""


class Streamed(NamedTuple):
    """An answer that comes part by part. What it raises on the way ends it; whoever leaves it early closes `parts`."""

    parts: Generator[bytes]
    content_type: str
    custom_attributes: str = ""
    status: int = 200
    session: tuple[tuple[str, str], ...] = ()

    def whole(self) -> Answer:
        """All of it. Raises what the model raises."""
        return Answer(b"".join(self.parts), self.content_type, self.custom_attributes, self.status, self.session)


class InvocationError(Exception):
    """A request that gets no answer. `status` is what a SageMaker container would have answered."""

    status: int = 500
    kind: ClassVar[str] = "model"
    """Whose fault it is: "input" (the client's), "model", or "busy" (ask another instance)."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class BadInput(InvocationError):
    status, kind = 400, "input"


class NotAcceptable(InvocationError):
    status, kind = 406, "input"


class TooLarge(InvocationError):
    status, kind = 413, "input"


class UnsupportedContentType(InvocationError):
    status, kind = 415, "input"


class ModelFailure(InvocationError):
    def __init__(self, message: str, status: int = 500) -> None:
        super().__init__(message)
        self.status = status


class Busy(InvocationError):
    status, kind = 503, "busy"


class LoadError(Exception):
    """The artifact cannot be served; the message is a sentence that says why and what would be right."""


Outcome = Answer | Streamed | InvocationError
Outcomes = list[tuple[int, Outcome]]
"""(index into the batch, outcome)"""


class Runtime(Protocol):
    joinable: bool
    """Whether rows of different requests may be put into one call of the model."""
    takes: int
    """How many requests it wants at a time."""

    def answer(self, batch: Sequence[Invocation]) -> Iterator[Outcomes]:
        """Every request's outcome exactly once, in the groups in which they become ready. Never raises for a request.

        An outcome is the same whether its request comes alone or in any batch.
        """


def as_outcome(error: BaseException) -> InvocationError:
    """What the client is told: the last line of the traceback. The traceback itself goes to the log.

    An exception that names a status of its own, as the SageMaker toolkits' errors do (status_code), keeps it.
    """
    if isinstance(error, InvocationError):
        return error
    log.error("the model raised", exc_info=error)
    try:
        status = getattr(error, "status_code", 500)
    except BaseException:  # noqa: BLE001 (a property of the script's own may raise whatever it likes)
        status = 500
    return ModelFailure(last_line(error), status if isinstance(status, int) and 400 <= status <= 599 else 500)


def last_line(error: BaseException) -> str:
    """As the last line of the traceback says it: "ValueError: text". A stack of C++ frames in the text is left out."""
    text = traceback.format_exception_only(error)[-1].partition("\nStack trace:")[0]
    return " ".join(text.split()) or type(error).__name__
