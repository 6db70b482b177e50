"""An instance's side: it serves the original, has it compiled, and goes over to what came of it between two batches."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kedge.compute.reports import COMPILING
from kedge.serving.runtimes.base import LoadError

if TYPE_CHECKING:
    from kedge.serving.compiled.result import Result
    from kedge.serving.runtimes.tabular import Compilable

log = logging.getLogger(__name__)

SETTING = "KEDGE_COMPILE"
AUTO, ON, OFF = MODES = ("auto", "on", "off")
MAX_RESULT_BYTES = 256 * 1024 * 1024
_LOOK_EVERY_S = 0.5
_GIVE_UP_AFTER_S = 3600.0


def mode(environment: Mapping[str, str]) -> str:
    """Raises LoadError."""
    chosen = environment.get(SETTING, "").lower() or AUTO
    if chosen not in MODES:
        raise LoadError(f"{SETTING} is {chosen}; it has to be one of {', '.join(MODES)}.")
    return chosen


def begin(runtime: Any, file: str, chosen: str, tell: Callable[[str], None]) -> None:
    """file: where the result is or will be; "" for what is never compiled, of which nothing is told.

    tell: hears what is served. The rest is done by a thread of its own.
    """
    what = "scripts and models of this kind are not compiled"
    compilable = bool(file) and getattr(runtime, "origin", None) is not None
    if chosen == ON and not compilable:
        log.warning("%s is on, but %s; the original is served", SETTING, what)
    if not file:
        return
    if chosen == OFF:
        tell(f"original: {SETTING} is off")
    elif not compilable:
        tell(f"original: {what}")
    else:
        arguments = (runtime, Path(file), chosen, tell)
        threading.Thread(target=_follow, args=arguments, name="kedge-compiled", daemon=True).start()


def _follow(runtime: Compilable, file: Path, chosen: str, tell: Callable[[str], None]) -> None:
    try:
        found = usable(file)
        if found is None:
            tell(COMPILING)
            found = _waited(file)
        tell(adopt(runtime, found, chosen))
    except Exception:
        log.exception("the compiled model cannot be used; the original is served")
        tell("original: the compiled model cannot be used; the log says why")


def adopt(runtime: Compilable, found: Result | None, chosen: str) -> str:
    """Go over to the program, if there is one. What is served from now on."""
    # Imported here: an instance whose model is no array's business needs neither this nor numpy.
    from kedge.serving.compiled import run
    from kedge.serving.compiled.program import Forest

    origin = runtime.origin
    assert origin is not None, "only a model with an origin is followed"
    if found is None:
        why = "it was not compiled within an hour"
    elif found.program is None:
        why = found.reason
    elif found.gain and chosen != ON:
        why = found.gain
        if isinstance(found.program.head, Forest) and found.engine == run.NUMPY:
            why += "; with what scripts/build-core builds it may be"
    else:
        most_rows = 0 if chosen == ON else found.most_rows
        runtime.stand_in(run.compiled(found.program, origin.predict, most_rows=most_rows))
        engine = run.engine(found.program)
        log.info(
            "the compiled model answers from now on (%s): %d rows were answered alike, numbers within %.1e",
            *(engine, found.rows, found.difference),
        )
        return f"compiled ({engine})"
    level = logging.WARNING if chosen == ON else logging.INFO
    log.log(level, "the model is not compiled, the original is served: %s", why)
    return f"original: {why}"


def usable(file: Path) -> Result | None:
    """The result, if it is there and was made with what is installed here."""
    from kedge.serving.compiled import result as results
    from kedge.serving.compiled.program import Damaged
    from kedge.serving.compiled.versions import made_with

    try:
        with file.open("rb") as stream:
            data = stream.read(MAX_RESULT_BYTES)
        found = results.load(data)
    except FileNotFoundError:
        return None
    except (OSError, Damaged) as error:
        log.warning("the result of compiling is passed over: %s", error)
        return None
    return found if found.made_with is None or dict(found.made_with) == made_with() else None


def _waited(file: Path) -> Result | None:
    never = threading.Event()
    for _ in range(int(_GIVE_UP_AFTER_S / _LOOK_EVERY_S)):
        never.wait(_LOOK_EVERY_S)
        if (found := usable(file)) is not None:
            return found
    return None
