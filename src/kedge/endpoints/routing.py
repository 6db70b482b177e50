"""The routing table that follows from what is stored. PURE."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import NamedTuple

from kedge import arn
from kedge.config import Settings
from kedge.endpoints import serverless
from kedge.endpoints.capture import capture_of
from kedge.endpoints.mixing import Mixed, Part, mixed, serving
from kedge.endpoints.records import Endpoint, Fleet, Status, Variant, member_id
from kedge.identity.records import AccessKey
from kedge.metrics.platform import Served
from kedge.serving import table
from kedge.serving.meter import VariantPlace
from kedge.store.records import Resource

TIMEOUT_NAMES = ("SAGEMAKER_MODEL_SERVER_TIMEOUT_SECONDS", "SAGEMAKER_MODEL_SERVER_TIMEOUT")
ASYNC_CONFIG = "AsyncInferenceConfig"
STREAM_TIMEOUT_NAME = "KEDGE_STREAM_TIMEOUT_S"
BODY_LIMIT_NAME = "SAGEMAKER_MAX_PAYLOAD_IN_MB"
RETRIES_NAME = "KEDGE_RETRIES"
IDLE_NAME = "KEDGE_SERVERLESS_IDLE_S"
MAX_TIMEOUT_S = 3600.0
MAX_BODY_MIB = 1024
MAX_IDLE_S = 86_400.0


def build(
    resources: Iterable[Resource],
    keys: Iterable[AccessKey],
    settings: Settings,
    version: int,
    *,
    seal_key: bytes,
    default_scope: tuple[str, str],
    socket: Callable[[str], str],
) -> table.RoutingTable:
    """resources: every endpoint and inference component. default_scope: (account, region) that an unsigned request
    means. socket: of an id."""
    routes = (route(resource, settings, socket) for resource in resources)
    return table.RoutingTable(
        version=version,
        endpoints=tuple(sorted((r for r in routes if r is not None), key=lambda r: (r.account, r.region, r.key))),
        keys=tuple(
            table.Key(key.access_key_id, key.secret, key.account, key.arn, key.user_id)
            for key in keys
            if key.expires_at is None
        ),
        seal_key=seal_key.hex(),
        auth_required=settings.auth_required,
        default_account=default_scope[0],
        default_region=default_scope[1],
    )


def route(resource: Resource, settings: Settings, socket: Callable[[str], str]) -> table.Endpoint | None:
    """How requests reach this endpoint; None while none may."""
    endpoint, fleets = _serving(resource)
    if not fleets:
        return None

    def instances(parts: Iterable[Part]) -> tuple[table.Instance, ...]:
        found = []
        for fleet, variant in parts:
            # An instance that is being added gets requests once it is ready, one that is being taken away at once none.
            count = min(variant.current_count, variant.desired_count)
            ids = [member_id(endpoint.uid, fleet.number, variant, ordinal) for ordinal in range(count)]
            found += [table.Instance(id_, socket(id_), fleet.config) for id_ in ids]
        return tuple(found)

    def divided(each: Mixed) -> table.Variant:
        old, new = instances(each.parts), instances([each.new]) if each.new is not None else ()
        # Of a variant that was scaled to zero one side may have no instance: then all of its traffic is the other's.
        share = float(each.share) if old and new else float(bool(new))
        return replace(_variant(each.name, float(each.weight), each.settings, old), new=new, new_share=share)

    # Instances without a model are asked for nothing: requests name a component, which is an entry of its own.
    variants = [divided(each) for each in mixed(endpoint) if not each.settings.is_room]
    main, host = fleets[0], endpoint.host
    copied = sum(v.desired_weight for v in main.production)
    shadows = [
        _variant(v.name, copied_share(v.desired_weight, copied), v, instances([(main, v)])) for v in main.shadows
    ]
    # What a shadow's model asks for changes nothing for those who are answered.
    wishes = wishes_of([variant for fleet in fleets for variant in fleet.production])
    return table.Endpoint(
        account=resource.scope.account,
        region=resource.scope.region,
        name=endpoint.name if host is None else host.endpoint,
        arn=arn.sagemaker(resource.scope.region, resource.scope.account, resource.kind, endpoint.name),
        variants=tuple(variants),
        timeout_s=wishes.timeout_s or settings.invocation_timeout_s,
        body_limit_bytes=wishes.body_limit_bytes or _body_limit_bytes(main, settings),
        retries=wishes.retries,
        capture=capture_of(main),
        metrics_by=metrics_by(endpoint, main),
        asynchronous=is_asynchronous(main),
        shadow=shadows[0] if shadows else None,
        stream_timeout_s=wishes.stream_timeout_s or settings.stream_timeout_s,
        component="" if host is None else endpoint.name,
        by_component=any(variant.is_room for variant in main.production),
    )


def _body_limit_bytes(fleet: Fleet, settings: Settings) -> int:
    if any(each.serverless for each in fleet.production):
        return min(serverless.BODY_LIMIT_BYTES, settings.body_limit_bytes)
    return settings.body_limit_bytes


def copied_share(shadow_weight: float, production_weight: float) -> float:
    """The part of the requests of which the shadow gets a copy: its weight against production's, at most all."""
    return min(1.0, shadow_weight / production_weight) if production_weight > 0 else 0.0


def _variant(name: str, weight: float, variant: Variant, instances: tuple[table.Instance, ...]) -> table.Variant:
    """variant: whose settings count."""
    prefixes = variant.echo.get("RoutingConfig", {}).get("PrefixAwareRoutingConfig", {})
    return table.Variant(
        name,
        weight,
        instances,
        variant.routing,
        hostnames=tuple(each.name for each in variant.containers) if variant.direct else (),
        many_models=tuple(each.name for each in variant.containers if each.models),
        most_concurrent=variant.serverless.get(serverless.MOST, 0),
        provisioned=serverless.provisioned(variant),
        prefix_bytes=prefixes.get("PrefixLength", 0),
        prefix_threshold=prefixes.get("ConcurrencyThreshold", 0),
        explains=bool(variant.explainer),
    )


def served(resources: Iterable[Resource]) -> Iterator[Served]:
    """Every variant to which requests may go."""
    for resource in resources:
        endpoint, fleets = _serving(resource)
        told: set[str] = set()
        for fleet in fleets:
            config = fleet.config if table.BY_CONFIG in metrics_by(endpoint, fleets[0]) else ""
            for variant in fleet.variants:
                if variant.name not in told:
                    told.add(variant.name)
                    place = place_of(resource, variant.name)
                    limits = (variant.serverless.get(serverless.MOST, 0), serverless.provisioned(variant))
                    yield Served(
                        place, config, fleet.created_at_s, asynchronous=is_asynchronous(fleet), serverless=limits
                    )


def place_of(resource: Resource, variant: str) -> VariantPlace:
    """Where a variant's requests are counted. resource: of the endpoint, or of the component that it is of."""
    name, host = resource.document["name"], resource.document.get("host")
    named = name if host is None else table.key_of(host["endpoint"], name)
    return VariantPlace(resource.scope.account, resource.scope.region, named, variant)


def is_asynchronous(fleet: Fleet) -> bool:
    return ASYNC_CONFIG in fleet.echo


def _serving(resource: Resource) -> tuple[Endpoint, list[Fleet]]:
    """The endpoint, and its fleets to which requests may go."""
    endpoint = Endpoint.of(resource.document)
    return endpoint, [] if Status(resource.status) in (Status.DELETING, Status.FAILED) else serving(endpoint)


def metrics_by(endpoint: Endpoint, fleet: Fleet) -> tuple[str, ...]:
    """Dimensions that the endpoint's metrics have besides its name and the variant's, as SageMaker has them.

    By the config: during and after an update that was given a DeploymentConfig. By the instance: with enhanced metrics.
    """
    enhanced = fleet.echo.get("MetricsConfig", {}).get("EnableEnhancedMetrics", False)
    by_config = bool(endpoint.deployment) and endpoint.host is None
    return ((table.BY_CONFIG,) if by_config else ()) + ((table.BY_INSTANCE,) if enhanced else ())


class Wishes(NamedTuple):
    """What models' environments ask for of their endpoint; None: no wish."""

    timeout_s: float | None
    stream_timeout_s: float | None
    body_limit_bytes: int | None
    retries: bool
    serverless_idle_s: float | None = None


def wishes_of(variants: Iterable[Variant]) -> Wishes:
    """What the models' environments ask for.

    An endpoint has one of each, so the largest wish of its containers counts, and one of them turns retries off for
    all. A value that is no positive number is no wish: the same variables mean other things to other model servers.
    """
    timeouts: list[float] = []
    stream_timeouts: list[float] = []
    bodies: list[int] = []
    idle: list[float] = []
    retries = True
    for environment in [container.environment for variant in variants for container in variant.containers]:
        for name in TIMEOUT_NAMES:
            if (seconds := _number(environment, name, MAX_TIMEOUT_S)) is not None:
                timeouts.append(seconds)
        if (seconds := _number(environment, STREAM_TIMEOUT_NAME, MAX_TIMEOUT_S)) is not None:
            stream_timeouts.append(seconds)
        if (mib := _number(environment, BODY_LIMIT_NAME, MAX_BODY_MIB)) is not None:
            bodies.append(int(mib * 1024 * 1024))
        if (seconds := _number(environment, IDLE_NAME, MAX_IDLE_S)) is not None:
            idle.append(seconds)
        if environment.get(RETRIES_NAME, "").lower() in ("0", "false", "off", "no"):
            retries = False
    longest_s, longest_stream_s = max(timeouts, default=None), max(stream_timeouts, default=None)
    return Wishes(longest_s, longest_stream_s, max(bodies, default=None), retries, max(idle, default=None))


def content(whole: table.RoutingTable) -> bytes:
    """What two tables have to share to be the same but for their version."""
    return table.encode(replace(whole, version=0))


def version_of(data: bytes) -> int:
    """The version of a table on disk; 0 when there is none that can be read."""
    try:
        return table.decode(data).version
    except table.TableRefused:
        return 0


def instances_of(whole: table.RoutingTable) -> frozenset[str]:
    every = (variant for endpoint in whole.endpoints for variant in endpoint.with_shadow)
    return frozenset(i.id for variant in every for i in variant.every_instance)


def _number(environment: Mapping[str, str], name: str, largest: float) -> float | None:
    try:
        value = json.loads(environment.get(name, ""))
    except ValueError:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= largest:
        return None
    return float(value)
