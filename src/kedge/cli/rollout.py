"""What `kedge deploy --canary 10 --bake 5m --rollback-on ALARM` asks for, and how it is told while it goes on. PURE."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import click

from kedge.cli.durations import seconds

MOST_BAKE_S = 3600
TRIAL_TAG = "kedge:trial"
LONGEST_TRIAL_S = 3600


@dataclass(frozen=True)
class Rollout:
    """How a new fleet takes over: by at most one of canary, linear and rolling; else all at once."""

    canary: int | None = None
    """Percent of the traffic that goes to the new fleet first."""
    linear: int | None = None
    """Percent of each step."""
    rolling: int | None = None
    """Percent of the instances that are replaced at a time."""
    bake_s: int | None = None
    """How long each step is watched."""
    final_bake_s: int | None = None
    """How long the old fleet is kept once all traffic has moved."""
    alarms: tuple[str, ...] = ()
    """Any of them in ALARM takes the traffic back."""
    trial: tuple[tuple[str, str], ...] = ()
    """Settings of a trial before any traffic, by name; "" names where its requests come from."""

    @property
    def is_asked_for(self) -> bool:
        return replace(self, trial=()) != Rollout()

    def trial_tags(self) -> list[dict[str, str]]:
        """Of the endpoint config. The server says which of them cannot be."""
        return [{"Key": f"{TRIAL_TAG}-{name}" if name else TRIAL_TAG, "Value": value} for name, value in self.trial]

    def deployment_config(self) -> dict[str, Any] | None:
        """UpdateEndpoint's DeploymentConfig; None when nothing is asked for. Raises UsageError."""
        if not self.is_asked_for:
            return None
        chosen = [name for name in ("canary", "linear", "rolling") if getattr(self, name) is not None]
        if len(chosen) > 1:
            raise click.UsageError(f"--{chosen[0]} and --{chosen[1]} are two ways; choose one.")
        if self.rolling is not None and self.final_bake_s is not None:
            raise click.UsageError(
                "--final-bake is for --canary, --linear and all at once: --rolling keeps no old fleet."
            )
        config = self._rolling() if self.rolling is not None else self._blue_green()
        if self.alarms:
            config["AutoRollbackConfiguration"] = {"Alarms": [{"AlarmName": name} for name in self.alarms]}
        return config

    def _rolling(self) -> dict[str, Any]:
        batch = {"Type": "CAPACITY_PERCENT", "Value": self.rolling}
        return {"RollingUpdatePolicy": {"MaximumBatchSize": batch, "WaitIntervalInSeconds": self.bake_s or 0}}

    def _blue_green(self) -> dict[str, Any]:
        traffic: dict[str, Any] = {"Type": "ALL_AT_ONCE", "WaitIntervalInSeconds": self.bake_s or 0}
        if self.canary is not None:
            traffic |= {"Type": "CANARY", "CanarySize": {"Type": "CAPACITY_PERCENT", "Value": self.canary}}
        elif self.linear is not None:
            traffic |= {"Type": "LINEAR", "LinearStepSize": {"Type": "CAPACITY_PERCENT", "Value": self.linear}}
        at_once = self.canary is None and self.linear is None
        final_s = self.final_bake_s if self.final_bake_s is not None else (self.bake_s if at_once else None)
        return {
            "BlueGreenUpdatePolicy": {
                "TrafficRoutingConfiguration": traffic,
                "TerminationWaitInSeconds": final_s or 0,
            }
        }

    @property
    def waits_s(self) -> int:
        """The longest that all its bakes take together."""
        steps = 1
        if self.linear or self.rolling:
            steps = -(-100 // (self.linear or self.rolling or 100))
        return steps * (self.bake_s or 0) + (self.final_bake_s or 0) + (LONGEST_TRIAL_S if self.trial else 0)


def trial_settings(source: str | None, given: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Raises UsageError for what is not NAME=VALUE, and for settings without a source."""
    if source is None:
        if given:
            raise click.UsageError("--trial-with needs --trial: s3://BUCKET/PREFIX, captured or synthetic.")
        return ()
    found = [("", source)]
    for text in given:
        name, sign, value = text.partition("=")
        if not (name and sign and value):
            raise click.UsageError(f'--trial-with is "{text}"; it has to be NAME=VALUE, for example max-p99=200.')
        found.append((name, value))
    return tuple(found)


def bake_seconds(option: str, text: str | None) -> int | None:
    """Raises UsageError for more than AWS allows."""
    if text is None:
        return None
    found_s = seconds(text)
    if found_s > MOST_BAKE_S:
        raise click.UsageError(f'{option} is "{text}"; at most 1h is allowed.')
    return found_s


def news(endpoint: Mapping[str, Any]) -> Iterator[str]:
    """What goes on in each fleet of an endpoint, as DescribeEndpoint tells it, a line each."""
    pending = endpoint.get("PendingDeploymentSummary", {})
    for fleet, variants in (
        (endpoint.get("EndpointConfigName", ""), endpoint.get("ProductionVariants", [])),
        (pending.get("EndpointConfigName", ""), pending.get("ProductionVariants", [])),
    ):
        yield from _lines(fleet, variants)


def _lines(fleet: str, variants: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    for variant in variants:
        for status in variant.get("VariantStatus", []):
            yield f"{fleet} {variant['VariantName']}: {status['Status']}: {status.get('StatusMessage', '')}".rstrip(
                ": "
            )
