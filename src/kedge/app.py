"""The control process: everything is built here, in order, and passed on by argument.

    python -m kedge.app --listen FD

Started by the supervisor, which opened the API port and lends it as FD. Nothing here decides anything.
"""

from __future__ import annotations

import gc

if __name__ == "__main__":
    # Until `run` freezes what was built: the imports leave no garbage, and looking for it takes a quarter of the start.
    gc.disable()

import argparse
import asyncio
import contextlib
import hashlib
import json
import logging
import os
import signal
import socket
import ssl
import sys
import uuid
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import lru_cache, partial
from typing import Any
from urllib.parse import parse_qsl

import uvicorn

from kedge import __version__, config, errors
from kedge.call import Call
from kedge.clock import SystemClock
from kedge.compute import capacity, commands, containers, credentials, environments, grants, instance_types
from kedge.compute.base import TaskState
from kedge.compute.commands import CommandsRefused
from kedge.compute.environments import EnvironmentFailed
from kedge.compute.link import keep_link
from kedge.compute.processes import LocalEngine
from kedge.config import SettingError, Settings
from kedge.endpoints import operations as endpoint_operations
from kedge.endpoints import steering, zoning
from kedge.endpoints.changing import Means
from kedge.endpoints.controller import Controller
from kedge.endpoints.descriptions import Warn
from kedge.endpoints.fleets import Choose, Kinds
from kedge.endpoints.operations import Machine
from kedge.endpoints.records import Container
from kedge.home import Home, HomeError, open_home
from kedge.identity import operations as identity_operations
from kedge.identity import service_sessions
from kedge.identity.authentication import Authentication
from kedge.identity.authorization import Authorization
from kedge.identity.keys import KeyRing
from kedge.identity.known import USED_EVERY_S, Known
from kedge.identity.records import AccessKey, Caller
from kedge.inference_components import operations as component_operations
from kedge.inference_experiments import operations as experiment_operations
from kedge.inference_experiments.controller import Controller as Experiments
from kedge.jobs.machine import JobMachine
from kedge.kms import controller as kms_controller
from kedge.kms import operations as kms_operations
from kedge.kms.keystore import KeyStore
from kedge.kms.master import open_master, record_master
from kedge.labels import taking as labels
from kedge.loop import Signal, keep, run, run_on_fastest_loop
from kedge.messaging import Messaging
from kedge.metrics.scraping import PATH
from kedge.minutes import asking as minutes
from kedge.minutes import baselines
from kedge.minutes.files import PURPOSE as MINUTES
from kedge.models import operations as model_operations
from kedge.monitors import execution_operations as monitoring
from kedge.monitors import operations as monitor_operations
from kedge.monitors.controller import Controller as Monitors
from kedge.monitors.retraining import operations as retraining
from kedge.monitors.retraining.controller import Controller as Retraining
from kedge.node import ports
from kedge.objects import controller as objects_controller
from kedge.objects import openness
from kedge.objects import operations as object_operations
from kedge.objects.browser import Browser, Parts
from kedge.objects.files import Objects
from kedge.objects.index import IndexRefused
from kedge.objects.vault import Vault
from kedge.offline import Offline
from kedge.registry import operations as registry_operations
from kedge.scaling import Scaling
from kedge.serving import runtimes
from kedge.serving.capture.forgetting import forget
from kedge.serving.handover import Receiving
from kedge.serving.passthrough import Passthrough
from kedge.serving.push import TablePush
from kedge.serving.runtimes import images
from kedge.store.lease import Lease
from kedge.store.pruning import PERIOD_S, prune
from kedge.store.records import Scope
from kedge.store.store import Store
from kedge.tags import operations as tag_operations
from kedge.telemetry import Telemetry
from kedge.wire.connection import BoundedHttp
from kedge.wire.gateway import Gateway, Operation
from kedge.wire.http import Request, Response
from kedge.wire.inside import Inside
from kedge.wire.models import Models
from kedge.wire.server import Server

SERVICES = (
    "sagemaker", "sagemaker-runtime", "s3", "sts", "iam", "kms", "cloudwatch", "logs", "sns", "application-autoscaling",
)  # fmt: skip
THREADS = 16
"""Plain operations that run at once; each holds a store connection for a few milliseconds."""
READING_THREADS = 4
"""Of those that read up to a hundred thousand datapoints, which takes seconds."""
WIDE_READS = ("cloudwatch.GetMetricData", "cloudwatch.GetMetricWidgetImage")
DRAIN_S = 5

log = logging.getLogger(__name__)


def operations(
    keys: KeyRing,
    machine: Machine,
    key_store: KeyStore,
    telemetry: Telemetry,
    messaging: Messaging,
    scaling: Scaling,
    offline: Mapping[str, Operation],
) -> dict[str, Operation]:
    """Everything that can be asked, by "service.Operation"."""
    return {
        **object_operations.OPERATIONS,
        **identity_operations.operations(keys),
        **model_operations.OPERATIONS,
        **registry_operations.OPERATIONS,
        **tag_operations.OPERATIONS,
        **endpoint_operations.operations(machine),
        **experiment_operations.OPERATIONS,
        **component_operations.operations(machine.kinds, machine.served),
        **kms_operations.operations(key_store),
        **telemetry.operations(),
        **messaging.operations(),
        **scaling.operations(),
        **offline,
    }


def runtime_chooser(settings: Settings) -> Choose:
    """The operator's map first, then the images that Kedge knows, then what podman or docker can be asked to run."""
    has_engine = containers.find(settings.container_engine) is not None

    def choose(image: str) -> str | None:
        if is_mapped(settings, image):
            return images.SERVER
        known = images.choose(image)
        if known is None and has_engine and images.is_reference(image):
            return images.CONTAINER
        return known

    return choose


def is_mapped(settings: Settings, image: str) -> bool:
    """Whether the operator's map has a command for the image. Raises ValidationFailed where it cannot be read."""
    try:
        return commands.find(commands.read(settings.images), image) is not None
    except CommandsRefused as error:
        raise errors.ValidationFailed(str(error)) from error


def version_warnings(settings: Settings, home: Home) -> Warn:
    """That another version runs than the image's tag names, where Kedge's own packages serve the model."""
    note = lru_cache(1024)(runtimes.running_note)

    def warn(container: Container) -> str:
        try:
            elsewhere = environments.mapped(environments.read_table(settings.environments), container.image)
        except EnvironmentFailed as error:
            return str(error)
        model = home.artifacts / container.artifact_sha256
        asks = container.artifact_sha256 and any(
            next(model.glob(pattern), None) for pattern in ("code/requirements.txt", "MLmodel", "*/MLmodel")
        )
        return "" if elsewhere or asks else note(container.runtime, container.image)

    return warn


class App:
    """The parts of one control process, and its life."""

    def __init__(self, settings: Settings, home: Home) -> None:
        self.settings, self.home = settings, home
        self.clock = SystemClock()
        self.changed = Signal()
        self.root = AccessKey(
            home.root_key.access_key_id,
            home.root_key.secret,
            home.account,
            f"arn:aws:iam::{home.account}:root",
            home.account,
        )
        durable = not settings.ephemeral
        self.store = Store(settings.database_url or home.database, durable=durable)
        self.store.on_commit(self.changed.notify)
        self.lease = Lease(self.store, "control", node_id(home), self.clock)
        """Of all nodes with one store, the one that holds it does whatever happens by itself."""
        self.master = open_master(home.master_key, settings.master_key_file, self.store, self.clock.now())
        self.key_store = KeyStore(self.store, self.master)
        self.objects = Objects(home.objects, self.clock, durable=durable, vault=Vault(self.key_store))
        self.keys = KeyRing([self.root], home.seal_key)
        self.known = Known(self.store, self.keys, self.root)
        self.engine = LocalEngine(home, settings)
        self.push = TablePush(home.control_socket)
        self.telemetry = Telemetry(
            settings, home, self.store, self.clock, self.engine, self.lease, lambda: self.push.routers, node_id(home)
        )
        self.messaging = Messaging(settings, home, self.store, self.clock, self.lease)
        self.scaling = Scaling(
            self.store, self.clock, self.lease, self.telemetry.metrics.read, self.telemetry.recent,
            self.engine.capacity, lambda: self.push.routers >= settings.routers, settings.serverless_idle_s,
            lambda: self.controller.publisher.has_serverless,
        )  # fmt: skip
        self.offline = Offline(
            settings, home, self.store, self.objects, self.telemetry, self.engine, self.clock, self.lease
        )
        self.controller = Controller(
            self.store, self.engine, self.objects, self.push, settings, home, self.clock, self.changed,
            lambda: [self.root, *self.known.current().keys], self.lease,
            lambda: self.known.current().directory, self.offline.others,
        )  # fmt: skip
        sizes = capacity.known_types(settings)
        machine = Machine(
            Kinds(partial(instance_types.find, known=sizes), runtime_chooser(settings), images.known_images()),
            self.engine.capacity,
            version_warnings(settings, home),
            self.controller.served,
        )
        has_engine = containers.find(settings.container_engine) is not None
        jobs = JobMachine(machine.kinds, machine.capacity, has_engine, partial(is_mapped, settings))
        self.monitors = Monitors(self.store, self.objects, self.clock, self.lease, jobs)
        self.minutes_key = self.master.key_for(MINUTES)
        self.baselines = baselines.Baselines(self.store, self.objects, home.minutes, self.minutes_key)
        self.experiments = Experiments(self.store, self.clock, self.lease, Means(machine.kinds, self.engine.capacity))
        self.authentication = Authentication(
            self.keys, self.known, self.root, home.region, self.clock, required=settings.auth_required
        )
        self.threads = ThreadPoolExecutor(THREADS, thread_name_prefix="operation")
        self.reading = ThreadPoolExecutor(READING_THREADS, thread_name_prefix="reading")
        self.authorization = Authorization(self.known, openness.facts)
        models = Models(SERVICES, settings.s3_domain)
        guarded = self.authorization.guarded(
            operations(
                self.keys,
                machine,
                self.key_store,
                self.telemetry,
                self.messaging,
                self.scaling,
                {**self.offline.operations(jobs), **monitor_operations.operations(jobs)},
            )
        )
        self.gateway = Gateway(
            models,
            guarded,
            self.authentication,
            self.new_call,
            routes=self.routes(),
            passthrough=Passthrough([home.router_socket(number) for number in range(settings.routers)]),
            executor=self.threads,
            apart=dict.fromkeys(WIDE_READS, self.reading),
            strict=settings.strict_results,
        )
        self.inside = Inside(models, guarded, self.new_call)
        self.retraining = Retraining(self.store, self.objects, self.clock, self.lease, self.in_role)
        self.receiving = Receiving(home.queue_socket, self.gateway.answer)
        self.site = Browser(
            self.gateway,
            Parts(
                models, self.objects, self.store, self.authentication.find_key, self.authentication,
                guarded["s3.PutObject"], self.new_call, self.clock, home.region,
            ),
        )  # fmt: skip
        self.seed()

    def new_call(self, caller: Caller, request_id: str, user_agent: str) -> Call:
        return Call(
            caller, self.clock.now(), request_id, user_agent, self.settings, self.store, self.objects, self.changed,
            self.authorization.require,
        )  # fmt: skip

    def in_role(self, operation: str, role_arn: str, scope: Scope, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """What SageMaker does by itself in the name of a role, with what this one may. Blocks."""
        caller = service_sessions.caller(self.store, role_arn, scope.region, self.clock.now())
        if caller.account != scope.account:
            raise errors.AccessDenied(f"The role {role_arn} belongs to another account.")
        return self.inside("sagemaker", operation, caller, request)

    async def release(self) -> None:
        """Give the lease back: another node need not wait until it expires."""
        try:
            await asyncio.to_thread(self.lease.release)
        except errors.ServiceError as error:
            log.warning("the lease could not be given back; another node waits until it expires: %s", error)

    def seed(self) -> None:
        """What the SageMaker SDK expects to find: an execution role and its default bucket."""
        record_master(self.master, self.store, self.clock.now())
        identity_operations.seed(self.store, self.home.account, self.clock.now())
        self.objects.create_bucket(
            f"sagemaker-{self.home.region}-{self.home.account}", self.home.account, self.home.region
        )

    def routes(self) -> Mapping[tuple[str, str], Callable[[Request], Awaitable[Response]]]:
        return {
            ("GET", "/kedge/health"): self.health,
            ("HEAD", "/kedge/health"): self.health,
            ("POST", "/kedge/reset"): self.reset,
            ("GET", steering.PATH): self.deployment,
            ("POST", steering.PATH): self.steer,
            ("GET", zoning.PATH): self.zones,
            ("POST", zoning.PATH): self.switch_zone,
            ("PUT", labels.PATH): self.label,
            ("POST", monitoring.PATH): self.ask_monitor,
            ("GET", minutes.PATH): self.minutes,
            ("GET", retraining.PATH): self.retrainings,
            ("POST", retraining.PATH): self.retrain,
            ("GET", self.messaging.signer.path): self.signing_certificate,
            ("GET", PATH): self.scrape,
            ("HEAD", PATH): self.scrape,
            ("GET", credentials.PATH): self.instance_credentials,
        }

    async def health(self, request: Request) -> Response:
        told = {"version": __version__, "routers": self.push.routers, "invocations": self.telemetry.tally.total}
        return _json(200, {"role": "control", "pid": os.getpid(), **told})

    async def signing_certificate(self, request: Request) -> Response:
        """By which whoever gets messages of topics verifies them. Not secret: nobody has to sign for it."""
        return Response(
            200, {"content-type": "application/x-pem-file"}, await asyncio.to_thread(self.messaging.signer.certificate)
        )

    async def scrape(self, request: Request) -> Response:
        """For who may read metrics."""
        try:
            caller = self.authentication.scraper(request, hashlib.sha256(request.body).hexdigest())
            call = self.new_call(caller, "", request.headers.get("user-agent", ""))
            await asyncio.to_thread(self.authorization.require, call, "cloudwatch:GetMetricData", "*", {})
        except (errors.AccessDenied, errors.UnknownAccessKey, errors.SignatureMismatch, errors.ExpiredToken) as error:
            raise errors.ScrapeDenied(error.message) from None
        form, body = await self.telemetry.scraping.answer(request.headers.get("accept", ""))
        return Response(200, {"content-type": form}, body)

    async def instance_credentials(self, request: Request) -> Response:
        """Of the model's execution role, for an instance that lives; the supervisor has written the grant."""
        grant = grants.granted(self.home.seal_key, request.headers.get("authorization", "").removeprefix("Bearer "))
        if grant is None:
            raise errors.AccessDenied("The grant was not written by the supervisor of this server.")
        if not any(status.id == grant.task for status in await self.engine.observe()):
            raise errors.AccessDenied("The instance that this grant is for is not there any more.")
        found = await asyncio.to_thread(
            service_sessions.assume, self.keys, self.store, grant.role_arn, self.clock.now()
        )
        return _json(200, credentials.as_sdk_reads(found.access_key_id, found.secret, found.token, found.expires_at))

    async def deployment(self, request: Request) -> Response:
        """What goes on in an endpoint or an inference component, and what went on."""
        ready = frozenset(task.id for task in await self.engine.observe() if task.state is TaskState.READY)
        asked = dict(parse_qsl(request.query))
        return _json(200, await asyncio.to_thread(steering.picture, self.signed(request), asked, ready))

    async def steer(self, request: Request) -> Response:
        return _json(200, await asyncio.to_thread(steering.steer, self.signed(request), request.body))

    async def zones(self, request: Request) -> Response:
        return _json(200, await asyncio.to_thread(zoning.shown, self.signed(request), await self.engine.observe()))

    async def switch_zone(self, request: Request) -> Response:
        return _json(200, await asyncio.to_thread(zoning.switch, self.signed(request), request.body))

    async def label(self, request: Request) -> Response:
        return _json(200, await asyncio.to_thread(labels.take, self.signed(request), request.body))

    async def ask_monitor(self, request: Request) -> Response:
        return _json(200, await asyncio.to_thread(monitoring.ask, self.signed(request), request.body))

    async def minutes(self, request: Request) -> Response:
        call, asked = self.signed(request), dict(parse_qsl(request.query))
        return _json(200, await asyncio.to_thread(minutes.give, call, asked, self.home.minutes, self.minutes_key))

    async def retrainings(self, request: Request) -> Response:
        asked = dict(parse_qsl(request.query))
        return _json(200, await asyncio.to_thread(retraining.retrainings, self.signed(request), asked))

    async def retrain(self, request: Request) -> Response:
        return _json(200, await asyncio.to_thread(retraining.ask, self.signed(request), request.body))

    def signed(self, request: Request) -> Call:
        """Of a request that belongs to no AWS service."""
        caller = self.authentication.signer(request, hashlib.sha256(request.body).hexdigest())
        return self.new_call(caller, str(uuid.uuid4()), request.headers.get("user-agent", ""))

    async def reset(self, request: Request) -> Response:
        """Drop everything and start as new: for tests, so only where nothing is meant to be kept."""
        if not self.authentication.root_only(request, hashlib.sha256(request.body).hexdigest()):
            raise errors.AccessDenied("Only the root key may reset the server.")
        if not self.settings.ephemeral:
            raise errors.ValidationFailed("Only a server that was started with --ephemeral can be reset.")
        await self.engine.reset()
        await forget(self.home.capture_socket)
        await asyncio.to_thread(self.telemetry.forget_output)
        await asyncio.gather(
            asyncio.to_thread(self.store.wipe),
            asyncio.to_thread(self.telemetry.metrics.wipe),
            asyncio.to_thread(self.objects.wipe),
        )
        await asyncio.to_thread(self.seed)
        await self.controller.publisher.step()
        return _json(200, {})

    async def prune(self) -> None:
        await prune(self.store, timedelta(days=self.settings.history_days), self.clock)

    async def write_used(self) -> None:
        await asyncio.to_thread(self.known.write_used, self.clock.now())

    async def turn_keys(self) -> None:
        await kms_controller.step(self.store, self.key_store, self.clock)

    async def pass_events_on(self) -> None:
        await objects_controller.pass_events_on(self.objects, self.store)

    async def expire(self) -> None:
        await objects_controller.expire(self.objects, self.store, self.clock.now())

    async def run(self, listener: socket.socket, task_id: str) -> None:
        """Until SIGTERM or SIGINT. `listener` is lent by the supervisor and stays open for the next control process."""
        self.changed.attach(asyncio.get_running_loop())
        happened = Signal()
        happened.attach(asyncio.get_running_loop())
        self.objects.events.on_event(happened.notify)
        await self.push.start()
        await self.telemetry.start()
        self.offline.start()
        await self.receiving.start()
        self.messaging.start(self.settings.public_url or ports.url(listener, tls=bool(self.settings.tls_cert)))
        server = Server(
            uvicorn.Config(
                self.site,
                http=BoundedHttp,
                lifespan="off",
                access_log=False,
                log_config=None,
                server_header=False,
                proxy_headers=False,
                timeout_keep_alive=65,
                timeout_graceful_shutdown=DRAIN_S,
                ssl_certfile=self.settings.tls_cert or None,
                ssl_keyfile=self.settings.tls_key or None,
                ssl_version=ssl.PROTOCOL_TLS_SERVER,
            )
        )
        beside = [
            asyncio.create_task(self.controller.run(), name="controller"),
            asyncio.create_task(keep(self.lease, self.clock), name="lease"),
            asyncio.create_task(
                run("inference experiments", self.experiments.step, self.changed, self.clock), name="experiments"
            ),
            asyncio.create_task(run("monitors", self.monitors.step, self.changed, self.clock), name="monitors"),
            asyncio.create_task(
                run("baselines of minutes", self.baselines.step, Signal(), self.clock, period_s=baselines.PERIOD_S),
                name="baselines of minutes",
            ),
            asyncio.create_task(run("retraining", self.retraining.step, self.changed, self.clock), name="retraining"),
            asyncio.create_task(run("prune", self.prune, Signal(), self.clock, period_s=PERIOD_S), name="prune"),
            asyncio.create_task(
                run("keys", self.turn_keys, Signal(), self.clock, period_s=kms_controller.PERIOD_S), name="keys"
            ),
            asyncio.create_task(
                run("used keys", self.write_used, Signal(), self.clock, period_s=USED_EVERY_S), name="used keys"
            ),
            asyncio.create_task(
                run(
                    "events of objects",
                    self.pass_events_on,
                    happened,
                    self.clock,
                    period_s=objects_controller.EVENTS_PERIOD_S,
                ),
                name="events of objects",
            ),
            asyncio.create_task(
                run("lifecycle", self.expire, Signal(), self.clock, period_s=objects_controller.LIFECYCLE_PERIOD_S),
                name="lifecycle",
            ),
            *(
                asyncio.create_task(each, name=name)
                for name, each in (
                    *self.telemetry.loops(),
                    *self.messaging.loops(),
                    *self.scaling.loops(),
                    *self.offline.loops(),
                )
            ),
            asyncio.create_task(keep_link(self.home, "control", task_id, listener), name="link"),
        ]
        for task in beside:
            task.add_done_callback(partial(_end_with, server))
        # What was built until now stays: the collector need never look at it.
        gc.freeze()
        gc.enable()
        try:
            await server.serve(sockets=[listener.dup()])
        finally:
            for task in beside:
                task.cancel()
            await asyncio.gather(*beside, return_exceptions=True)
            await self.receiving.stop()
            await self.offline.close()
            await self.messaging.close()
            await self.controller.close()
            await self.release()
            await self.push.stop()
            await self.telemetry.stop()
            await self.engine.close()
            self.threads.shutdown(wait=True, cancel_futures=True)
            self.reading.shutdown(wait=True, cancel_futures=True)
            self.telemetry.close()
            self.objects.close()
            self.store.close()


def node_id(home: Home) -> str:
    """Of the data directory: the same after every restart and after a move, another on every other node."""
    digest = hashlib.sha256(b"node id" + home.seal_key).hexdigest()
    return f"{home.account}/{digest[:16]}"


def _end_with(server: Server, task: asyncio.Task[Any]) -> None:
    """A part that ended by itself is a defect: end the process too, and the supervisor starts it anew."""
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("%s ended", task.get_name(), exc_info=error)
        server.end()


def _json(status: int, body: Mapping[str, Any]) -> Response:
    return Response(status, {"content-type": "application/json"}, json.dumps(body).encode())


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m kedge.app")
    parser.add_argument("--listen", type=int, required=True, help="number of the inherited listening socket")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    # Until the loop takes it: a stop while the models load is a stop like any other.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        settings = config.read()
        app = App(settings, open_home(settings))
    except (errors.ServiceError, SettingError, HomeError, IndexRefused) as error:
        sys.stderr.write(f"{error}\n")
        return config.CANNOT_START
    with contextlib.closing(socket.socket(fileno=options.listen)) as listener:
        listener.setblocking(False)
        run_on_fastest_loop(app.run(listener, os.environ.get("KEDGE_TASK_ID", "")))
    return 0


if __name__ == "__main__":
    sys.exit(main())
