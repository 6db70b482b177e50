"""An inference request from its arrival to its invocation: who sent it, may they, and which endpoint is meant.

`connection.py` reads a request whole, and hashes it as it arrives; `Router.handle` verifies who sent it and finds the
endpoint in the routing table; `invocation.py` picks the variant and the instance, sends it as frames (`upstream.py`),
and tries again where that is right; the answer goes back the same way.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
from datetime import datetime
from random import Random
from typing import Any
from urllib.parse import unquote

from kedge import arn, core, errors
from kedge.clock import Clock
from kedge.identity.keys import KeyRing
from kedge.identity.records import AccessKey, Caller
from kedge.serving import answers
from kedge.serving.capture.tap import Tap
from kedge.serving.deadlines import Deadlines
from kedge.serving.fleet import Fleet, Route
from kedge.serving.front import Front
from kedge.serving.handover import Handover
from kedge.serving.inbound import Inbound, Limits
from kedge.serving.invocation import Invocation
from kedge.serving.kept import Kept
from kedge.serving.permission import Permission
from kedge.serving.reports import Reporter
from kedge.serving.streaming import StreamingInvocation
from kedge.serving.table import RoutingTable, key_of
from kedge.shadowing.feed import Feed
from kedge.shadowing.mirror import Mirrors
from kedge.wire import sigv4

SERVICE = "sagemaker"
"""The runtime signs as the API does."""
COMPONENT_HEADER = "x-amzn-sagemaker-inference-component"
_JSON = b"content-type: application/json\r\n"
_STREAM = "/invocations-response-stream"
_ASYNC = "/async-invocations"

log = logging.getLogger(__name__)


class Router:
    """Serves the table that was accepted last. Everything happens on one loop's thread."""

    def __init__(
        self,
        number: int,
        clock: Clock,
        limits: Limits,
        body_limit_bytes: int,
        tap: Tap,
        kept: Kept | None = None,
        feed: Feed | None = None,
        handover: Handover | None = None,
    ) -> None:
        """feed: takes what shadows answer; None where nothing is copied to them."""
        self._number = number
        self._handover = handover
        self._clock = clock
        self._body_limit_bytes = body_limit_bytes
        self._table: RoutingTable | None = None
        self._ring: KeyRing | None = None
        self._seal_key = ""
        self._permission: Permission | None = None
        self._signing_keys = sigv4.SigningKeys()
        self._accounts: dict[str, str] = {}
        self._deadlines = Deadlines()
        random = Random(os.urandom(16))
        self._ids = answers.RequestIds(random)
        self.tap = tap
        mirrors = Mirrors(self._deadlines, random, feed) if feed is not None else None
        self.fleet = Fleet(random, tap, mirrors)
        self.reporter = Reporter(clock, os.urandom(8).hex(), self.fleet.concurrent, tap.counted, kept, self.fleet.told)
        tap.lost = self.reporter.news
        if mirrors is not None:
            mirrors.reporter = self.reporter
        self.front = Front(self.handle, limits, body_limit_bytes, self._ids)

    def swap(self, table: RoutingTable) -> None:
        """Serve this table from the next request on."""
        keys = [AccessKey(k.access_key_id, k.secret, k.account, k.arn, k.user_id) for k in table.keys]
        if self._ring is None or table.seal_key != self._seal_key:
            self._ring = KeyRing(keys, bytes.fromhex(table.seal_key))
            self._seal_key = table.seal_key
        permission = self._permission
        if permission is None or (permission.directory, permission.tags) != (table.directory, table.tags):
            permission = Permission(table.directory, table.tags)
        self.fleet.swap(table, asyncio.get_running_loop().time())
        self._ring.replace(keys)
        self._permission = permission
        self._accounts = {key.access_key_id: key.account for key in keys}
        self._table = table
        self.front.hash_while_reading = table.auth_required
        self.front.body_limit_bytes = max(
            self._body_limit_bytes, *(each.body_limit_bytes for each in table.endpoints), 0
        )

    def handle(self, inbound: Inbound) -> None:
        """Answer now, or begin what will lead to the answer."""
        request_id = self._ids.next()
        try:
            path = inbound.path
            if path.startswith("/endpoints/") and inbound.method == "POST" and path.endswith("/invocations"):
                self._invoke(inbound, path[len("/endpoints/") : -len("/invocations")], request_id)
            elif path.startswith("/endpoints/") and inbound.method == "POST" and path.endswith(_STREAM):
                self._invoke(inbound, path[len("/endpoints/") : -len(_STREAM)], request_id, stream=True)
            elif self._handover is not None and inbound.method == "POST" and path.endswith(_ASYNC):
                self._hand_over(self._handover, inbound, request_id)
            else:
                self._other(inbound, path)
        except errors.ServiceError as error:
            inbound.respond(*answers.error(error, request_id))
        except Exception as error:
            log.exception("request %s failed", request_id)
            inbound.respond(*answers.error(error, request_id))

    def _invoke(self, inbound: Inbound, name: str, request_id: str, *, stream: bool = False) -> None:
        table = self._table
        if table is None:
            raise errors.ServiceUnavailable("This router has no routing table yet.")
        if "%" in name:
            name = unquote(name)
        component = inbound.headers.get(COMPONENT_HEADER)
        account, region = self._sender(inbound, table, name, component, stream=stream)
        route = self.fleet.find(account, region, name) if "/" not in name else None
        if route is None:
            raise answers.no_endpoint(account, name)
        if component is not None or route.endpoint.by_component:
            route = self._component(route, component)
        if route.endpoint.asynchronous:
            raise answers.only_asynchronous(name)
        if stream:
            StreamingInvocation(inbound, route, self.fleet, self._deadlines, self.reporter, request_id).start()
        else:
            Invocation(inbound, route, self.fleet, self._deadlines, self.reporter, request_id).start()

    def _component(self, host: Route, name: str | None) -> Route:
        """Raises RuntimeValidationError where a component is named that is not there, or none where one has to be."""
        endpoint = host.endpoint
        if not endpoint.by_component:
            raise answers.component_not_allowed()
        if name is None:
            raise answers.component_missing()
        found = self.fleet.find(endpoint.account, endpoint.region, key_of(endpoint.name, name))
        if found is None:
            raise answers.no_component(endpoint.account, endpoint.name, name[:64])
        return found

    def _hand_over(self, handover: Handover, inbound: Inbound, request_id: str) -> None:
        """To control, which looks at the signature again, and at what the caller may do."""
        table = self._table
        if table is not None and table.auth_required:
            self._verified(inbound, self._clock.now())
        handover.take(inbound, request_id)

    def _sender(
        self, inbound: Inbound, table: RoutingTable, name: str, component: str | None, *, stream: bool = False
    ) -> tuple[str, str]:
        """(account, region) whose endpoint `name` is meant. Raises what sigv4.verify and Permission.check raise."""
        if not table.auth_required:
            return self._claimed(inbound, table)
        now = self._clock.now()
        caller = self._verified(inbound, now)
        self._check(caller, inbound, "endpoint", name, now, stream=stream)
        if component is not None:
            self._check(caller, inbound, "inference-component", component, now, stream=stream)
        return caller.account, caller.region

    def _verified(self, inbound: Inbound, now: datetime) -> Caller:
        """Who has signed. Raises what sigv4.verify raises."""
        ring = self._ring
        assert ring is not None
        known = sigv4.known_signer(inbound, inbound.body, SERVICE, now, self._signing_keys)
        if known is not None:
            key = ring.find(known.scope.access_key_id, inbound.headers.get("x-amz-security-token"), now)
            if key is known.key or key == known.key:
                return known.caller
        return self._newly_verified(inbound, ring, now)

    def _newly_verified(self, inbound: Inbound, ring: KeyRing, now: datetime) -> Caller:
        verified = sigv4.verify(
            inbound,
            inbound.body_sha256(),
            lambda access_key_id, token: ring.find(access_key_id, token, now),
            now,
            cache=self._signing_keys,
        )
        if verified.service != SERVICE:
            raise errors.SignatureMismatch(
                f"Credential should be scoped to correct service: '{SERVICE}', not '{verified.service}'."
            )
        return verified.caller

    def _check(self, caller: Caller, inbound: Inbound, kind: str, name: str, now: datetime, *, stream: bool) -> None:
        """Raises AccessDenied, whether there is such an endpoint, or inference component, or not."""
        if caller.is_root:
            return
        assert self._permission is not None
        resource_arn = arn.sagemaker(caller.region, caller.account, kind, name)
        self._permission.check(caller, resource_arn, inbound.headers, now, inbound.origin, stream=stream)

    def _claimed(self, inbound: Inbound, table: RoutingTable) -> tuple[str, str]:
        """What an unverified request says of itself; what it does not say, or wrongly, is the default."""
        if "authorization" not in inbound.headers:
            return table.default_account, table.default_region
        access_key_id, region = sigv4.claimed(inbound)
        return self._accounts.get(access_key_id, table.default_account), region or table.default_region

    def _other(self, inbound: Inbound, path: str) -> None:
        if inbound.method in ("GET", "HEAD"):
            if path == "/kedge/health":
                inbound.respond(200, _JSON, json.dumps(self.health(local=inbound.is_local)).encode())
                return
            if path == "/ping":
                inbound.respond(200, _JSON, b"{}")
                return
        raise answers.NoSuchPath(
            f"{inbound.method[:16]} {path[:128]} is no operation of the inference port; "
            f"POST /endpoints/NAME/invocations is InvokeEndpoint, /endpoints/NAME{_STREAM} is "
            f"InvokeEndpointWithResponseStream, /endpoints/NAME{_ASYNC} is InvokeEndpointAsync."
        )

    def health(self, *, local: bool = False) -> dict[str, Any]:
        """local: for this user on this machine, who may know which endpoints there are."""
        table = self._table
        capture = self.tap.summary()
        if local:
            capture["variants"] = self.tap.variants()
        return {
            "role": "router",
            "number": self._number,
            "pid": os.getpid(),
            "core": core.found().name,
            "table_version": table.version if table is not None else None,
            "endpoints": len(table.endpoints) if table is not None else 0,
            "healthy_instances": self.fleet.ready_count,
            "connections": len(self.front.connections),
            "reports_waiting": self.reporter.waiting,
            "reports_dropped": self.reporter.dropped,
            "capture": capture,
        }
