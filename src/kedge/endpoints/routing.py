"""The routing table that follows from what is stored. PURE."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace

from kedge import arn
from kedge.config import Settings
from kedge.endpoints.capture import capture_of
from kedge.endpoints.records import Endpoint, Fleet, Status, Variant, instance_id
from kedge.identity.records import AccessKey
from kedge.metrics.platform import Served
from kedge.serving import table
from kedge.serving.meter import VariantPlace
from kedge.store.records import Resource

TIMEOUT_NAMES = ("SAGEMAKER_MODEL_SERVER_TIMEOUT_SECONDS", "SAGEMAKER_MODEL_SERVER_TIMEOUT")
BODY_LIMIT_NAME = "SAGEMAKER_MAX_PAYLOAD_IN_MB"
RETRIES_NAME = "KEDGE_RETRIES"
MAX_TIMEOUT_S = 3600.0
MAX_BODY_MIB = 1024


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
    """resources: every endpoint. default_scope: (account, region) that an unsigned request means. socket: of an id."""
    routes = (route(resource, settings, socket) for resource in resources)
    return table.RoutingTable(
        version=version,
        endpoints=tuple(sorted((r for r in routes if r is not None), key=lambda r: (r.account, r.region, r.name))),
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
    endpoint, fleet = _serving(resource)
    if fleet is None:
        return None
    # What a shadow's model asks for changes nothing for those who are answered.
    environment = limits_of(fleet.production)
    variants = []
    for variant in fleet.variants:
        # An instance that is being added gets requests once it is ready, one that is being taken away at once none.
        count = min(variant.current_count, variant.desired_count)
        ids = [instance_id(endpoint.uid, fleet.number, variant.name, ordinal) for ordinal in range(count)]
        instances = tuple(table.Instance(id_, socket(id_), fleet.config) for id_ in ids)
        variants.append(
            table.Variant(
                variant.name,
                variant.desired_weight,
                instances,
                variant.routing,
                hostnames=tuple(each.name for each in variant.containers) if variant.direct else (),
                many_models=tuple(each.name for each in variant.containers if each.models),
            )
        )
    shadow = next((each for each in variants if fleet.shadow and each.name == fleet.shadow), None)
    if shadow is not None:
        variants.remove(shadow)
        shadow = replace(shadow, weight=copied_share(shadow.weight, sum(each.weight for each in variants)))
    timeout_s, body_limit_bytes, retries = environment
    return table.Endpoint(
        account=resource.scope.account,
        region=resource.scope.region,
        name=endpoint.name,
        arn=arn.sagemaker(resource.scope.region, resource.scope.account, "endpoint", endpoint.name),
        variants=tuple(variants),
        timeout_s=settings.invocation_timeout_s if timeout_s is None else timeout_s,
        body_limit_bytes=settings.body_limit_bytes if body_limit_bytes is None else body_limit_bytes,
        retries=retries,
        capture=capture_of(fleet),
        metrics_by=metrics_by(endpoint, fleet),
        shadow=shadow,
    )


def copied_share(shadow_weight: float, production_weight: float) -> float:
    """The part of the requests of which the shadow gets a copy: its weight against production's, at most all."""
    return min(1.0, shadow_weight / production_weight) if production_weight > 0 else 0.0


def served(resources: Iterable[Resource]) -> Iterator[Served]:
    """Every variant to which requests may go."""
    for resource in resources:
        endpoint, fleet = _serving(resource)
        if fleet is not None:
            config = fleet.config if table.BY_CONFIG in metrics_by(endpoint, fleet) else ""
            for variant in fleet.variants:
                place = VariantPlace(resource.scope.account, resource.scope.region, endpoint.name, variant.name)
                yield Served(place, config, fleet.created_at_s)


def _serving(resource: Resource) -> tuple[Endpoint, Fleet | None]:
    """The endpoint, and its fleet to which requests may go."""
    endpoint = Endpoint.of(resource.document)
    return endpoint, None if Status(resource.status) in (Status.DELETING, Status.FAILED) else endpoint.live


def metrics_by(endpoint: Endpoint, fleet: Fleet) -> tuple[str, ...]:
    """Dimensions that the endpoint's metrics have besides its name and the variant's, as SageMaker has them.

    By the config: during and after an update that was given a DeploymentConfig. By the instance: with enhanced metrics.
    """
    enhanced = fleet.echo.get("MetricsConfig", {}).get("EnableEnhancedMetrics", False)
    return ((table.BY_CONFIG,) if endpoint.deployment else ()) + ((table.BY_INSTANCE,) if enhanced else ())


def limits_of(variants: Iterable[Variant]) -> tuple[float | None, int | None, bool]:
    """(time-out in s, largest body in bytes, retries) that the models' environments ask for; None: no wish.

    An endpoint has one of each, so the largest wish of its containers counts, and one of them turns retries off for
    all. A value that is no positive number is no wish: the same variables mean other things to other model servers.
    """
    timeouts: list[float] = []
    bodies: list[int] = []
    retries = True
    for environment in [container.environment for variant in variants for container in variant.containers]:
        for name in TIMEOUT_NAMES:
            if (seconds := _number(environment, name, MAX_TIMEOUT_S)) is not None:
                timeouts.append(seconds)
        if (mib := _number(environment, BODY_LIMIT_NAME, MAX_BODY_MIB)) is not None:
            bodies.append(int(mib * 1024 * 1024))
        if environment.get(RETRIES_NAME, "").lower() in ("0", "false", "off", "no"):
            retries = False
    return max(timeouts, default=None), max(bodies, default=None), retries


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
    return frozenset(i.id for each in whole.endpoints for variant in each.with_shadow for i in variant.instances)


def _number(environment: Mapping[str, str], name: str, largest: float) -> float | None:
    try:
        value = json.loads(environment.get(name, ""))
    except ValueError:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= largest:
        return None
    return float(value)
