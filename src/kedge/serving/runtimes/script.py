"""The SageMaker script contract: handlers in code/inference.py, or in the module that SAGEMAKER_PROGRAM names.

Source of the contract: sagemaker-inference (transformer.py) and SageMaker's scikit-learn container (serving.py).
"""

from __future__ import annotations

import importlib.util
import inspect
import logging
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from types import ModuleType
from typing import Any

from kedge.serving.runtimes import defaults, images, parts, payload, tabular
from kedge.serving.runtimes.base import Answer, Invocation, LoadError, ModelFailure, Outcomes, Streamed, last_line
from kedge.serving.runtimes.context import Context
from kedge.serving.runtimes.steps import in_steps

log = logging.getLogger(__name__)

DEFAULT_PROGRAM = "inference.py"
MODEL_DIR = PurePosixPath("/opt/ml/model")
"""Where a SageMaker container finds the artifact; settings that name a path below it mean the artifact."""
_TEXT = (payload.JSON, payload.CSV)
"""Bodies of these types reach input_fn as text, as in the toolkits."""
_ARGUMENTS = {
    "pre_model_fn": 1,
    "model_fn": 1,
    "model_warmup_fn": 2,
    "input_fn": 2,
    "predict_fn": 2,
    "output_fn": 2,
    "transform_fn": 4,
}
_EXCLUDED = ("input_fn", "predict_fn", "output_fn")

Handler = Callable[..., Any]
"""A handler that takes the context as its last argument, whatever the script's own function takes."""


class ScriptRuntime:
    def __init__(
        self, module: ModuleType, artifact: Path, environment: Mapping[str, str], runtime: str = images.SCRIPT
    ) -> None:
        """Calls model_fn. runtime: the framework whose defaults stand in for missing handlers. Raises LoadError."""
        self._handlers = handlers(module)
        self._execution_parameters = getattr(module, "execution_parameters_fn", None)
        self._defaults = defaults.of(runtime)
        self._default_accept = environment.get("SAGEMAKER_DEFAULT_INVOCATIONS_ACCEPT") or payload.JSON
        self._model_dir = str(artifact)
        self.joinable = getattr(module, "KEDGE_JOINABLE", False) is True and "transform_fn" not in self._handlers
        self.takes = tabular.TAKES if self.joinable else 1
        context = Context(Invocation(b""), self._model_dir)
        try:
            if before := self._handlers.get("pre_model_fn"):
                before(self._model_dir, context)
            if load_model := self._handlers.get("model_fn"):
                self._model = self._defaults.ready(load_model(self._model_dir, context))
            else:
                self._model = self._defaults.ready(self._load_without_script(artifact, environment))
            if warm_up := self._handlers.get("model_warmup_fn"):
                warm_up(self._model_dir, self._model, context)
        except LoadError:
            raise
        except BaseException as error:
            raise failed(error, artifact) from error

    def _load_without_script(self, artifact: Path, environment: Mapping[str, str]) -> Any:
        try:
            return self._defaults.load(artifact, environment)
        except LoadError as error:
            raise LoadError(f"The script defines no model_fn. {error}") from error

    def execution_parameters(self) -> object:
        """What the script answers to a container's GET /execution-parameters; None where it says nothing."""
        said = self._execution_parameters
        return said() if callable(said) else None

    def answer(self, batch: Sequence[Invocation]) -> Iterator[Outcomes]:
        calls = [Context(request, self._model_dir) for request in batch]
        if "transform_fn" in self._handlers:
            return in_steps(calls, _itself, self._transform, self._respond, joinable=False)
        return in_steps(calls, self._input, self._predict, self._output, joinable=self.joinable)

    def _input(self, call: Context) -> object:
        handler = self._handlers.get("input_fn")
        request = call.request
        if handler is None:
            return self._defaults.decode(request.body, request.content_type, self._model)
        return handler(_body(request), request.content_type or payload.JSON, call)

    def _predict(self, data: object, call: Context | None) -> object:
        handler = self._handlers.get("predict_fn")
        if handler is None:
            return self._defaults.predict(data, self._model)
        return handler(data, self._model, call or Context(Invocation(b""), self._model_dir))

    def _output(self, prediction: object, call: Context) -> Answer | Streamed:
        handler = self._handlers.get("output_fn")
        if handler is None:
            if parts.is_stream(prediction):
                return self._respond(prediction, call)
            kind = payload.negotiate(call.request.accept, self._default_accept)
            return self._respond((payload.encode(self._defaults.plain(prediction), kind), kind), call)
        return self._respond(handler(prediction, self._accept(call), call), call)

    def _transform(self, _: object, call: Context | None) -> object:
        assert call is not None, "transform_fn is never joined"
        request = call.request
        return self._handlers["transform_fn"](
            self._model, _body(request), request.content_type or payload.JSON, self._accept(call), call
        )

    def _accept(self, call: Context) -> str:
        accept = call.request.accept
        return self._default_accept if accept in ("", "*/*") else accept

    def _respond(self, result: object, call: Context) -> Answer | Streamed:
        """What output_fn and transform_fn may give: a body, or (body, content type); the context may set the rest.

        A body that is an iterator of bytes or text is streamed. Its first part is waited for: what the model raises
        until then is an ordinary error, and what it says to the context counts.
        """
        kind: object = None
        if isinstance(result, tuple) and len(result) == 2:
            result, kind = result
        stream = parts.begun(result) if parts.is_stream(result) else None
        kind = call.response_content_type or kind or self._answered_in(call)
        if not isinstance(kind, str) or not kind.isascii() or not kind.isprintable():
            raise ModelFailure(f"The script's content type is {kind!r}; it has to be printable ASCII.")
        session = tuple(call.session.items())
        if stream is not None and 200 <= call.status < 300:
            return Streamed(stream, kind, call.response_custom_attributes, call.status, session)
        body = _as_bytes(result) if stream is None else b"".join(stream)
        if call.status >= 400:
            raise ModelFailure(body[:2048].decode(errors="replace") or call.phrase, call.status)
        return Answer(body, kind, call.response_custom_attributes, call.status, session)

    def _answered_in(self, call: Context) -> str:
        """The one type that was asked for; of several, or of a range, the first plain one."""
        plain = [kind for kind in payload.accepted(self._accept(call)) if not kind.endswith("*")]
        return plain[0] if plain else self._default_accept


def find(artifact: Path, environment: Mapping[str, str]) -> Path | None:
    """The artifact's script, or None when it has none. Raises LoadError when one is named that is not there."""
    program = environment.get("SAGEMAKER_PROGRAM", "")
    folder = environment.get("SAGEMAKER_SUBMIT_DIRECTORY", "").removeprefix("file://")
    relative = PurePosixPath(program or DEFAULT_PROGRAM)
    if relative.suffix != ".py":
        relative = PurePosixPath(str(relative) + ".py")
    places = [artifact / "code", artifact] if program else [artifact / "code"]
    if folder and "://" not in folder:
        places.insert(0, _below(artifact, PurePosixPath(folder)))
    root = artifact.resolve()
    for place in places:
        script = (place / relative).resolve()
        if script.is_file() and script.is_relative_to(root):
            return script
    if not program:
        return None
    hint = f" SAGEMAKER_SUBMIT_DIRECTORY is {folder}, which an instance does not fetch." if "://" in folder else ""
    raise LoadError(f"SAGEMAKER_PROGRAM is {program}, but the artifact has no code/{relative}.{hint}")


def load(artifact: Path, environment: Mapping[str, str], runtime: str = images.SCRIPT) -> ScriptRuntime:
    """Raises LoadError; one without a script too."""
    script = find(artifact, environment)
    if script is None:
        raise LoadError("The artifact has no code/inference.py, and SAGEMAKER_PROGRAM names no other script.")
    return ScriptRuntime(imported(script, artifact), artifact, environment, runtime)


def imported(script: Path, artifact: Path) -> ModuleType:
    """The script as a module under its own name, so that what was pickled from it is found. Raises LoadError."""
    for folder in (artifact, script.parent):
        if str(folder) not in sys.path:
            sys.path.insert(0, str(folder))
    spec = importlib.util.spec_from_file_location(script.stem, script)
    assert spec is not None, "a .py file always has a loader"
    assert spec.loader is not None, "a .py file always has a loader"
    module = importlib.util.module_from_spec(spec)
    sys.modules[script.stem] = module
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        raise failed(error, artifact) from error
    return module


def handlers(module: ModuleType) -> dict[str, Handler]:
    """The module's handlers, each taking the context last. Raises LoadError for a set that cannot be."""
    found = {name: getattr(module, name) for name in _ARGUMENTS if getattr(module, name, None) is not None}
    both = [name for name in _EXCLUDED if name in found]
    if "transform_fn" in found and both:
        raise LoadError(
            f"The script has transform_fn and also {', '.join(both)}; transform_fn replaces them: keep one."
        )
    return {name: _with_context(name, function) for name, function in found.items()}


def _with_context(name: str, function: Any) -> Handler:
    count = _ARGUMENTS[name]
    if not callable(function):
        raise LoadError(f"{name} is a {type(function).__name__}; it has to be a function.")
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except ValueError:  # a function written in C does not say what it takes
        return lambda *arguments: function(*arguments[:-1])
    if any(each.kind is each.KEYWORD_ONLY and each.name == "context" for each in parameters):
        return lambda *arguments: function(*arguments[:-1], context=arguments[-1])
    if any(each.kind is each.VAR_POSITIONAL for each in parameters):
        return lambda *arguments: function(*arguments[:-1])
    positional = [each for each in parameters if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)]
    if len(positional) == count + 1:
        return lambda *arguments: function(*arguments)
    needed = [each for each in positional if each.default is each.empty]
    if len(positional) >= count >= len(needed):
        return lambda *arguments: function(*arguments[:-1])
    raise LoadError(f"{name} takes {len(positional)} arguments; it has to take {count}, and may take the context last.")


def failed(error: BaseException, artifact: Path) -> LoadError:
    """One sentence with the exception and the place in the artifact's code where it was raised."""
    place, own, step = "", None, error.__traceback__
    while step is not None:
        code = step.tb_frame.f_code
        if _is_of(artifact, code.co_filename):
            place = f" ({Path(code.co_filename).name}, line {step.tb_lineno}, in {code.co_name})"
            own = own or step
        step = step.tb_next
    if isinstance(error, SyntaxError) and error.filename and _is_of(artifact, error.filename):
        place = f" ({Path(error.filename).name}, line {error.lineno})"
    # The frames of this package are left out: who reads this wrote the script, and the end of it is a FailureReason.
    log.error("the script failed while the model was loaded", exc_info=(type(error), error, own))
    hint = ""
    if isinstance(error, ModuleNotFoundError) and error.name:
        hint = f" Name the package that holds {error.name.partition('.')[0]} in the archive's code/requirements.txt."
    return LoadError(f"{last_line(error)[:1024]}{place}{'.' + hint if hint else ''}")


def _is_of(artifact: Path, file: str) -> bool:
    return Path(file).is_relative_to(artifact) or Path(file).is_relative_to(artifact.resolve())


def _below(artifact: Path, folder: PurePosixPath) -> Path:
    if folder.is_relative_to(MODEL_DIR):
        folder = folder.relative_to(MODEL_DIR)
    return artifact / folder


def _itself(call: Context) -> object:
    return call


def _body(request: Invocation) -> bytes | str:
    kind = payload.media_type(request.content_type) or payload.JSON
    return payload.text(request.body, request.content_type) if kind in _TEXT else request.body


def _as_bytes(result: object) -> bytes:
    if isinstance(result, bytes):
        return result
    if isinstance(result, bytearray | memoryview):
        return bytes(result)
    if isinstance(result, str):
        return result.encode()
    return payload.encode(result, payload.JSON)
