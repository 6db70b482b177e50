"""An endpoint is given another fleet, by whoever may: the beginning of every update that goes all at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from kedge import arn
from kedge.endpoints import capture, scaling, serverless, shifting, trial
from kedge.endpoints.descriptions import arn_of
from kedge.endpoints.events import announce
from kedge.endpoints.fleets import Kinds, coming, new_fleet
from kedge.endpoints.records import CONFIG_KIND, Endpoint, Fleet, Status
from kedge.errors import ValidationFailed
from kedge.store.records import Resource, Scope
from kedge.store.transaction import Transaction
from kedge.tags.attach import read as read_tags


@dataclass(frozen=True)
class Means:
    """What fleets are built from, and how much of it there is."""

    kinds: Kinds
    room: scaling.Room


def update(tx: Transaction, resource: Resource, config: str, means: Means, now_s: float) -> Resource:
    """The endpoint, on its way to the endpoint config of that name.

    resource: of an endpoint in service, as it is in `tx`. Raises ValidationFailed when the config or a model of it is
    not there, the endpoint is not in service, or autoscaling holds on to a variant that would go;
    ResourceLimitExceeded when the machine has no room.
    """
    scope = resource.scope
    if resource.status != Status.IN_SERVICE:
        raise ValidationFailed(
            f'Cannot update endpoint "{arn_of(scope.region, scope.account, resource.name)}" with status '
            f'"{resource.status}"; it has to be {Status.IN_SERVICE.value}.'
        )
    endpoint = Endpoint.of(resource.document)
    fleet = fleet_of(tx, scope, endpoint.fleets + 1, config, means.kinds, now_s)
    if endpoint.live is not None:
        serverless.check_update(endpoint.live, fleet)
    scaling.check_scaled_in(tx, resource, fleet)
    changed = replace(endpoint, pending=fleet, fleets=fleet.number, failure_reason="")
    if fleet.trial:
        changed = shifting.begun(changed, {}, now_s)
    scaling.check_room(tx, fleet, coming(changed), means.room)
    after = tx.update(resource, changed.document(), Status.UPDATING)
    announce(tx, after)
    return after


def fleet_of(tx: Transaction, scope: Scope, number: int, config: str, kinds: Kinds, now_s: float) -> Fleet:
    """Of the endpoint config of that name.

    Raises ValidationFailed when the config or a model of it is not there (any more), or a tag of it is no rule.
    """
    config_arn = arn.sagemaker(scope.region, scope.account, CONFIG_KIND, config)
    found = tx.get(scope, CONFIG_KIND, config.lower())
    if found is None:
        raise ValidationFailed(f'Could not find endpoint configuration "{config_arn}".')
    models = models_of(tx, scope, found.document)
    tags = read_tags(tx, scope, config_arn)
    fleet = new_fleet(number, found.document, models, kinds, now_s, capture.rules_of(tags))
    return replace(fleet, trial=trial.of_tags(tags))


def models_of(tx: Transaction, scope: Scope, config: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The documents of all models that a config names, by the name it uses. Raises ValidationFailed."""
    found = {}
    for variant in [*config["ProductionVariants"], *config.get("ShadowProductionVariants", [])]:
        if name := variant.get("ModelName"):
            model = tx.get(scope, "model", name.lower())
            if model is None:
                model_arn = arn.sagemaker(scope.region, scope.account, "model", name)
                raise ValidationFailed(f'Could not find model "{model_arn}".')
            found[name] = model.document
    return found
