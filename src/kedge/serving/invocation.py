"""One InvokeEndpoint, from the verified request to its answer: choosing, sending, waiting, trying again.

No step waits: each is called when something happened, and says what happens next. The deadline is the endpoint's
time-out, counted from the moment the body was there and verified.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from functools import lru_cache, partial
from typing import Any

from kedge import errors
from kedge.logs import names
from kedge.serving import answers, choose, frames, sessions
from kedge.serving.asking import encoded_head
from kedge.serving.deadlines import Deadlines
from kedge.serving.fleet import Fleet, Pool, Route
from kedge.serving.inbound import Inbound
from kedge.serving.meter import PROVISIONED_INVOCATIONS, SETUP, SPILLOVER_INVOCATIONS, Place
from kedge.serving.reports import Reporter
from kedge.serving.retry import Verdict, after_busy, after_death, is_suspicious, settles_for_s
from kedge.serving.sessions import Session
from kedge.serving.table import Variant
from kedge.serving.upstream import Upstream
from kedge.shadowing.pairs import Answer
from kedge.wire import eventstream

MAX_ATTRIBUTES_CHARS = 1024
_PREFIX = "x-amzn-sagemaker-"
_CUSTOM_ATTRIBUTES = f"{_PREFIX}custom-attributes"
_INFERENCE_ID = f"{_PREFIX}inference-id"
_FIELDS = (
    # name in the frame's head, member in AWS's model, fewest and most characters
    ("content_type", "contentType", 0, 1024),
    ("accept", "accept", 0, 1024),
    ("custom_attributes", "customAttributes", 0, MAX_ATTRIBUTES_CHARS),
    ("inference_id", "inferenceId", 1, 64),
    (frames.EXPLANATIONS, "enableExplanations", 1, 64),
)
_SESSION = f"{_PREFIX}session-id"
_TARGET_VARIANT = f"{_PREFIX}target-variant"
_TARGET_MODEL = f"{_PREFIX}target-model"
_TARGET_CONTAINER = f"{_PREFIX}target-container-hostname"
_MAX_TARGET_CHARS = 1024
_PREFIX_ID = f"{_PREFIX}prefix-aware-id"
_MAX_PREFIX_ID_CHARS = 64
_EXPLANATIONS = f"{_PREFIX}enable-explanations"


def fields_of(headers: Mapping[str, str], endpoint: str, *, explains: bool = False) -> tuple[tuple[str, str], ...]:
    """What the worker is told besides the body. explains: it has an explainer. Raises RuntimeValidationError."""
    get = headers.get
    enable = get(_EXPLANATIONS)
    if enable is not None and not explains:  # it changes the answer's meaning, so it is not just ignored
        raise errors.RuntimeValidationError(
            f'EnableExplanations is "{enable[:64]}", but endpoint {endpoint} cannot take it: it has no explainer.'
        )
    return _fields(get("content-type"), get("accept"), get(_CUSTOM_ATTRIBUTES), get(_INFERENCE_ID), enable)


@lru_cache(1024)
def _fields(*values: str | None) -> tuple[tuple[str, str], ...]:
    """values: of _FIELDS, in their order; None where there is no such header. Clients send the same over and over."""
    fields = []
    for (field, member, fewest, most), value in zip(_FIELDS, values, strict=True):
        if value is None:
            continue
        if not fewest <= len(value) <= most or not _is_visible(value):
            raise _violation(member, value, fewest, most)
        fields.append((field, value))
    return tuple(fields)


def session_of(given: str) -> str:
    """Raises RuntimeValidationError."""
    if not 1 <= len(given) <= sessions.MAX_CHARS or not _is_visible(given):
        raise _violation("sessionId", given, 1, sessions.MAX_CHARS)
    return given


def prefix_of(body: bytes, given: str | None, endpoint: str, variant: Variant) -> str:
    """By which the instance is chosen where the variant is routed by prefixes; else "". given: the PrefixAwareId.

    Raises RuntimeValidationError.
    """
    if not variant.prefix_bytes:
        if given is not None:
            raise errors.RuntimeValidationError(
                f'PrefixAwareId is "{given[:64]}", but endpoint {endpoint} cannot take it: it does not route by '
                "prefixes."
            )
        return ""
    if given is not None and not (1 <= len(given) <= _MAX_PREFIX_ID_CHARS and _is_visible(given) and given[0] != " "):
        raise _violation("prefixAwareId", given, 1, _MAX_PREFIX_ID_CHARS)
    return choose.prefix_key(body, variant.prefix_bytes, given or "")


def targets_of(
    headers: Mapping[str, str], endpoint: str, variant: Variant, request_id: str
) -> tuple[tuple[str, str], ...]:
    """Which model and container of the variant are meant. Raises RuntimeValidationError."""
    fields: tuple[tuple[str, str], ...] = ()
    container, model = headers.get(_TARGET_CONTAINER), headers.get(_TARGET_MODEL)
    if container is not None and not variant.hostnames:
        raise answers.no_target_container(endpoint)
    if variant.hostnames:
        if container is None:
            raise answers.target_container_missing(request_id, variant.hostnames)
        if container not in variant.hostnames:
            raise answers.unknown_container(endpoint, container[:64], variant.hostnames)
        fields = (("target_container", container),)
    many_models = container in variant.many_models if variant.hostnames else bool(variant.many_models)
    if model is not None and not many_models:
        raise answers.no_target_model(endpoint)
    if many_models:
        if model is None:
            raise answers.target_model_missing(request_id)
        if not 1 <= len(model) <= _MAX_TARGET_CHARS or not _is_visible(model):
            raise _violation("targetModel", model, 1, _MAX_TARGET_CHARS)
        fields += (("target_model", model),)
    return fields


def _violation(member: str, value: str, fewest: int, most: int) -> errors.RuntimeValidationError:
    lead = f"1 validation error detected: Value '{value[:64]}' at '{member}' failed to satisfy constraint: Member must"
    if len(value) > most:
        return errors.RuntimeValidationError(f"{lead} have length less than or equal to {most}")
    if len(value) < fewest:
        return errors.RuntimeValidationError(f"{lead} have length greater than or equal to {fewest}")
    return errors.RuntimeValidationError(f"{lead} satisfy regular expression pattern: ^\\p{{ASCII}}*")


@lru_cache(1024)
def answer_lines(content_type: str, variant: str, attributes: str, *, streamed: bool = False) -> bytes:
    """A good answer's headers. Most answers of a model have the same. Raises ValueError.

    The model's code is foreign: what it says must not become another header, or another answer.
    """
    if not all(_is_visible(each) and len(each) <= MAX_ATTRIBUTES_CHARS for each in (content_type, attributes)):
        raise ValueError("The model's content type or custom attributes cannot be a header's value.")
    lines = f"content-type: {eventstream.MEDIA_TYPE}\r\nx-amzn-sagemaker-" if streamed else ""
    lines += f"content-type: {content_type or 'application/octet-stream'}\r\n"
    lines += f"x-Amzn-Invoked-Production-Variant: {variant}\r\n"
    if attributes:
        lines += f"X-Amzn-SageMaker-Custom-Attributes: {attributes}\r\n"
    return lines.encode()


def _is_visible(text: str) -> bool:
    return text.isascii() and text.isprintable()


class Invocation:
    __slots__ = (
        "_admitted_by",
        "_began_s",
        "_container",
        "_deadlines",
        "_deaths",
        "_fields",
        "_fleet",
        "_inbound",
        "_is_begun",
        "_is_cold",
        "_losses",
        "_pool",
        "_reporter",
        "_request_id",
        "_retries",
        "_route",
        "_sent_s",
        "_session",
        "_session_id",
        "_settling",
        "_spills",
        "_stream",
        "_target",
        "_upstream",
        "_variant",
        "affinity",
        "deadline_s",
        "is_suspect",
        "lost_with",
        "pinned",
        "prefix",
        "refused_by",
        "timeout_s",
        "to_new",
    )

    def __init__(
        self, inbound: Inbound, route: Route, fleet: Fleet, deadlines: Deadlines, reporter: Reporter, request_id: str
    ) -> None:
        self._began_s = reporter.now_s()
        self._admitted_by: Pool | None = None
        self._sent_s = 0.0
        """When it was sent to the instance that it is at."""
        self._reporter = reporter
        self._inbound = inbound
        self._route = route
        self._fleet = fleet
        self._request_id = request_id
        self._deadlines = deadlines
        self._target = inbound.headers.get(_TARGET_VARIANT)
        self._session_id = ""
        """As the client gives it."""
        self._session: Session | None = None
        """That the model has opened before."""
        self._variant = ""
        self._fields: tuple[tuple[str, str], ...] = ()
        self._container = ""
        """The one of several that it names."""
        self._pool: Pool | None = None
        self._upstream: Upstream | None = None
        self._stream = 0
        self._deaths = 0
        self._losses = 0
        self._retries = 0
        self._settling: asyncio.TimerHandle | None = None
        """It waits until no more instances die, to be tried again."""
        self._is_begun = True
        """The model has begun with it where it is, as far as can be known."""
        self._is_cold = False
        """It waits for the start of a serverless variant's instance."""
        self._spills = False
        """It came beyond the variant's provisioned concurrency."""
        self.is_suspect = False
        self.lost_with: Upstream | None = None
        self.affinity = ""
        self.pinned = ""
        self.prefix = ""
        self.refused_by: Collection[Upstream] = ()
        self.to_new = False
        self.deadline_s = 0.0
        self.timeout_s = route.endpoint.timeout_s

    def start(self) -> None:
        """Raises a ServiceError when it cannot even be sent."""
        try:
            self._submit()
        except errors.ServiceError as error:
            self._refused(error)
            raise

    def _submit(self) -> None:
        endpoint = self._route.endpoint
        if len(self._inbound.body) > endpoint.body_limit_bytes:
            raise answers.too_large(endpoint.body_limit_bytes)
        pool = self._choose()
        headers = self._inbound.headers
        self._fields = fields_of(headers, endpoint.name, explains=pool.variant.explains)
        if self._session_id:
            self._fields += (("session_id", self._session.id if self._session is not None else self._session_id),)
        variant = pool.variant
        if variant.hostnames or variant.many_models or _TARGET_MODEL in headers or _TARGET_CONTAINER in headers:
            targets = targets_of(headers, endpoint.name, variant, self._request_id)
            self._fields += targets
            self.affinity = dict(targets).get("target_model", self.affinity)
            self._container = dict(targets).get("target_container", "")
        if variant.prefix_bytes or _PREFIX_ID in headers:
            self.prefix = prefix_of(self._inbound.body, headers.get(_PREFIX_ID), endpoint.name, variant)
        pool.admit(self, self._began_s, self.timeout_s)
        self._admitted_by = pool
        self._reporter.arrival()
        self._inbound.gone = self._abandon
        self._deadlines.add(self)
        pool.budget.request()
        if variant.most_concurrent:
            self._spills = pool.concurrent > variant.provisioned
            self._is_cold = not pool.ready_count
        pool.submit(self)

    def _choose(self) -> Pool:
        route, headers = self._route, self._inbound.headers
        session = headers.get(_SESSION)
        if session is not None:
            pool = self._enter(session)
            if pool is not None:
                return pool
        is_own = session is not None and session != sessions.NEW
        key = (session if is_own else headers.get(_INFERENCE_ID)) or ""
        self._variant = route.draw(key) if self._target is None else self._target
        pool = route.pool(self._variant)
        if pool is None:
            raise answers.no_variant(route.endpoint.name, self._variant[:64])
        self._pool = pool
        self.to_new = pool.draw_new(key)
        return pool

    def _enter(self, given: str) -> Pool | None:
        """The pool of the instance that holds the session; None where any may answer. Raises RuntimeValidationError."""
        route = self._route
        endpoint = route.endpoint
        self._session_id = session_of(given)
        if given == sessions.NEW:
            return None
        session = sessions.read(given, self._fleet.session_key, endpoint.arn)
        if session is None:
            if route.keeps_sessions:
                raise answers.no_session(given, endpoint.name)
            self.affinity = given
            return None
        found = route.holder(session, self._reporter.wall_s())
        if found is None:
            raise answers.no_session(given, endpoint.name)
        route.keeps_sessions = True
        self._session = session
        self._pool, self.pinned = found
        self._variant = self._pool.variant.name
        return self._pool

    def _session_lines(self, head: dict[str, Any]) -> bytes:
        """What the model says of a session, as headers. Raises ValueError for what it cannot say."""
        if not self._session_id:
            return b""
        lines, endpoint, upstream = "", self._route.endpoint, self._upstream
        if self._session_id == sessions.NEW and (said := head.get(frames.NEW_SESSION)) and upstream is not None:
            opened = sessions.opened(str(said), upstream.instance_id)
            header = sessions.header_of(opened, self._fleet.session_key, endpoint.arn)
            lines = f"{_PREFIX}new-session-id: {header}\r\n"
            self._route.keeps_sessions = True
        if self._session is not None and head.get(frames.CLOSED_SESSION) == self._session.id:
            lines += f"{_PREFIX}closed-session-id: {self._session_id}\r\n"
            self._route.close_session(self._session, self._reporter.wall_s())
        return lines.encode()

    def send_to(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self._sent_s = self._reporter.now_s()
        if self._is_cold:
            self._tell_setup(upstream)
        left_ms = max(1, int((self.deadline_s - self._deadlines.now_s()) * 1000))
        fields = self._fields_for(upstream)
        head = encoded_head(fields, self._request_id, left_ms, max(1, int(self.timeout_s * 1000)))
        self._stream = upstream.send(self, head, self._inbound.body, self._route.endpoint.body_limit_bytes)

    def _fields_for(self, upstream: Upstream) -> tuple[tuple[str, str], ...]:
        """Of a suspect it matters whether the model has begun with it when the instance dies."""
        if not (self.is_suspect and upstream.tells_begun):
            self._is_begun = True
            return self._fields
        self._is_begun = False
        return self._fields + frames.TELLS_BEGUN

    def _tell_setup(self, upstream: Upstream) -> None:
        self._is_cold = False
        self._reporter.measure(upstream.place, "", SETUP, (self._sent_s - self._began_s) * 1e6)

    # What becomes of it.

    def begun(self) -> None:
        self._is_begun = True

    def told(self, samples: object) -> None:
        upstream = self._upstream
        if upstream is not None:
            self._reporter.samples(upstream.place, upstream.containers, samples)

    def answered(self, head: dict[str, Any], body: bytes) -> None:
        status = head.get("status", 200)
        if not isinstance(status, int) or not 200 <= status < 300:
            self._model_failed(status, body.decode("utf-8", "replace"))
            return
        try:
            content_type, attributes = head.get("content_type"), head.get("custom_attributes")
            lines = answer_lines(str(content_type or ""), self._variant, str(attributes or ""))
            if self._session_id:
                lines += self._session_lines(head)
        except ValueError as error:
            self._model_lost(answers.model_error(self._route.endpoint, self._stream_name, 500, str(error)))
            return
        if self._pool is not None and (capture := self._pool.capture) is not None:
            inbound = self._inbound
            capture(self._request_id, inbound.headers, inbound.body, str(content_type or ""), body)
        self._end(200)
        self._inbound.respond(200, b"%sx-amzn-RequestId: %s\r\n" % (lines, self._request_id.encode()), body)
        if self._pool is not None and self._pool.mirror is not None:
            self._copy(200, str(content_type or ""), body)

    def failed(self, head: dict[str, Any]) -> None:
        message = str(head.get("message", ""))
        match head.get("kind"):
            case "busy" if head.get("ending") or head.get("held_up"):
                self._not_begun()
            case "busy":
                self._busy()
            case "lost":
                self._lost(self._try_again)
            case "target":
                self._fail(errors.RuntimeValidationError(message))
            case "loading":
                self._fail(answers.ModelNotReady(message))
            case _:
                self._model_failed(head.get("status", 500), message, str(head.get("container") or answers.PRIMARY))

    def overran(self) -> None:
        self._model_lost(answers.answer_too_large(self._route.endpoint, self._stream_name))

    def lost(self) -> None:
        pool, now_s = self._pool, self._deadlines.now_s()
        assert pool is not None
        pool.lost_s = now_s
        self._losses += 1
        if is_suspicious(begun=self._is_begun, losses=self._losses):
            self._lost(partial(self._settle, now_s, self._try_again))
        else:
            self._leave_instance()
            self._settle(now_s, self._submit_again)

    def _lost(self, again: Callable[[], None]) -> None:
        """again: called when it is to be tried again."""
        pool = self._pool
        assert pool is not None
        endpoint = self._route.endpoint
        self._deaths += 1
        # Asked last, because asking takes one from the budget.
        verdict = after_death(self._deaths, self._retries, retries_on=endpoint.retries, budget_left=True)
        if verdict is Verdict.RETRY and not pool.budget.take(self._deadlines.now_s()):
            verdict = Verdict.UNAVAILABLE
        if verdict is Verdict.GIVE_UP:
            self._model_lost(answers.instance_lost(endpoint, self._stream_name, self._deaths))
            return
        self.lost_with = self._upstream
        self._leave_instance()
        if verdict is Verdict.RETRY:
            self.is_suspect = True
            again()
        else:
            self._fail(errors.ServiceUnavailable("The instance that ran this was lost, and no more retries are left."))

    def _settle(self, died_s: float, again: Callable[[], None]) -> None:
        """To be tried again once no more instances die. died_s: when its own did."""
        pool, now_s = self._pool, self._deadlines.now_s()
        assert pool is not None
        pause_s = settles_for_s(now_s - pool.lost_s, now_s - died_s)
        if pause_s > 0:
            self._settling = asyncio.get_running_loop().call_later(pause_s, self._settle, died_s, again)
        else:
            self._settling = None
            again()

    def _not_begun(self) -> None:
        """The instance will not, or not soon, begin with this: that counts neither as a death nor as a retry."""
        self._leave_instance()
        self._submit_again()

    def _busy(self) -> None:
        pool, upstream = self._pool, self._upstream
        assert pool is not None
        assert upstream is not None
        self.refused_by = {*self.refused_by, upstream}
        self._leave_instance()
        if after_busy(self._retries, others=not self.pinned and pool.others(self)) is Verdict.RETRY:
            self._try_again()
        else:
            self._fail(errors.Throttled(f"All instances of variant {self._variant} are busy; try again later."))

    def _try_again(self) -> None:
        self._retries += 1
        self._submit_again()

    def _submit_again(self) -> None:
        pool = self._pool
        assert pool is not None
        try:
            pool.submit(self)
        except errors.ServiceError as error:
            self._fail(error)

    def reroute(self) -> None:
        route = self._route
        endpoint = route.endpoint
        found = self._fleet.find(endpoint.account, endpoint.region, endpoint.key)
        try:
            if found is None:
                raise answers.gone(endpoint)
            self._route = found
            self._choose().submit(self)
        except errors.ServiceError as error:
            self._fail(error)

    def wake(self) -> None:
        self._reporter.wake()

    def shed(self) -> None:
        if self._upstream is not None:
            self._upstream.cancel(self._stream)
        self._fail(answers.overloaded(self._variant))

    def expire(self) -> None:
        """The deadline is over. Whatever was sent is not sent again: the model may be slow, and it may be at it."""
        upstream = self._upstream
        if upstream is None:
            self._fail(errors.ServiceUnavailable("No instance of the variant became healthy in time."))
            return
        upstream.cancel(self._stream)
        container = self._container or answers.PRIMARY
        self._model_lost(answers.timed_out(self._route.endpoint, self._stream_name, container))

    def _abandon(self) -> None:
        """The client has gone."""
        if self._upstream is not None:
            self._upstream.cancel(self._stream)
        self._leave(self._reporter.now_s(), answered=False)

    def _model_failed(self, status: object, message: str, container: str = answers.PRIMARY) -> None:
        code = status if isinstance(status, int) and 100 <= status <= 599 else 500
        error = answers.model_error(self._route.endpoint, self._stream_name, code, message, container)
        self._end(code)
        self._respond(error)
        if self._pool is not None and self._pool.mirror is not None:
            self._copy(code, "", b"")

    def _copy(self, status: int, content_type: str, body: bytes) -> None:
        """The client has its answer: the shadow may get the same request."""
        assert self._pool is not None
        assert self._pool.mirror is not None
        inbound = self._inbound
        answer = Answer(status, (self._reporter.now_s() - self._sent_s) * 1e6, content_type, body)
        self._pool.mirror.offer(self._request_id, inbound.headers, self._fields, inbound.body, answer)

    def _model_lost(self, error: errors.ServiceError) -> None:
        """The model was asked, and there is no answer of it that could be passed on."""
        self._end(0)
        self._respond(error)

    def _fail(self, error: errors.ServiceError) -> None:
        """No model has begun with it, as far as can be known."""
        self._refused(error)
        self._respond(error)

    @property
    def _stream_name(self) -> str:
        """Of the log stream of the instance that it is at."""
        assert self._upstream is not None
        return names.instance_stream(self._variant, self._upstream.instance_id)

    def _respond(self, error: errors.ServiceError) -> None:
        self._inbound.respond(*answers.error(error, self._request_id))

    def _leave_instance(self) -> None:
        upstream, self._upstream = self._upstream, None
        if upstream is not None and self._pool is not None:
            self._pool.release(upstream, self)

    def _end(self, status: int) -> None:
        """It was at an instance. status: the model's, 0 when it gave none."""
        upstream, pool, reporter = self._upstream, self._pool, self._reporter
        now_s, sent_s = reporter.now_s(), self._sent_s
        if upstream is not None and pool is not None:
            reporter.invocation(upstream.place, status, pool.ready_count, now_s - sent_s, sent_s - self._began_s)
            if self._container:
                self._count_container(upstream.place, status)
            if pool.variant.provisioned:
                name = SPILLOVER_INVOCATIONS if self._spills else PROVISIONED_INVOCATIONS
                reporter.measure(upstream.place, "", name, 1.0)
        self._leave(now_s, answered=status > 0)

    def _count_container(self, place: Place, status: int) -> None:
        """As SageMaker does for containers that are invoked by name."""
        measure, container = self._reporter.measure, self._container
        measure(place, container, "Invocations", 1.0)
        measure(place, container, "Invocation4XXErrors", float(400 <= status < 500))
        measure(place, container, "Invocation5XXErrors", float(status >= 500))

    def _refused(self, error: errors.ServiceError) -> None:
        if self._pool is not None:
            self._reporter.refusal(self._pool.place, error.code)
        self._leave(self._reporter.now_s(), answered=False)

    def _leave(self, now_s: float, *, answered: bool) -> None:
        if self._admitted_by is not None:
            self._admitted_by.depart(self, now_s, self._began_s, answered=answered)
        self._deadlines.remove(self)
        self._inbound.gone = None
        if self._settling is not None:
            self._settling.cancel()
        if self._upstream is not None:
            self._leave_instance()
        elif self._pool is not None:
            self._pool.forget(self)
