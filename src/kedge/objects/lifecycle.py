"""What a lifecycle configuration asks for: is it one, and what is due now? PURE.

Days are counted from an object's creation and rounded up to the next midnight UTC. Source: "Lifecycle configuration
elements" and "Expiring objects" in the S3 user guide.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from kedge.objects import tags
from kedge.objects.errors import InvalidArgument, InvalidRequest, MalformedXML, NotImplementedHere
from kedge.objects.records import ListedVersion, Upload

MOST_RULES = 1000
_ACTIONS = ("Expiration", "NoncurrentVersionExpiration", "AbortIncompleteMultipartUpload")
_MOVES = ("Transitions", "NoncurrentVersionTransitions", "Transition", "NoncurrentVersionTransition")


@dataclass(frozen=True)
class Rule:
    """An enabled rule; None where it has no such action or condition."""

    id: str
    prefix: str = ""
    tags: tuple[tuple[str, str], ...] = ()
    larger_than: int | None = None
    smaller_than: int | None = None
    days: int | None = None
    date: datetime | None = None
    removes_markers: bool = False
    noncurrent_days: int | None = None
    newer_kept: int = 0
    abort_days: int | None = None


@dataclass(frozen=True)
class Due:
    """A version whose time has come. version: "" deletes the key as a client would; else that version, for good."""

    key: str
    version: str
    sequence: int
    """Of the version that was looked at: what came since is spared."""


def check(rules: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The rules as they are kept: each with an id. Raises MalformedXML, InvalidArgument, InvalidRequest, ..."""
    if not 1 <= len(rules) <= MOST_RULES:
        raise MalformedXML(f"A lifecycle configuration has 1 to {MOST_RULES} rules; this one has {len(rules)}.")
    kept, seen = [], set()
    for number, rule in enumerate(rules, 1):
        identity = str(rule.get("ID") or f"rule-{number}")
        if len(identity) > 255:
            raise InvalidArgument("ID length should not exceed allowed limit of 255", ArgumentName="ID")
        if identity in seen:
            raise InvalidArgument(f'Rule ID must be unique. Found same ID for more than one rule: "{identity}"')
        seen.add(identity)
        _check_rule(rule)
        kept.append({**rule, "ID": identity})
    return kept


def _check_rule(rule: Mapping[str, Any]) -> None:
    if rule.get("Status") not in ("Enabled", "Disabled"):
        raise MalformedXML("A lifecycle rule has the Status Enabled or Disabled.")
    if ("Filter" in rule) == ("Prefix" in rule):
        raise MalformedXML("A lifecycle rule has either a Filter or a Prefix.")
    for move in _MOVES:
        if rule.get(move):
            raise NotImplementedHere(
                f"{move} is not implemented here: every storage class is stored in the same way.", Header=move
            )
    if not any(rule.get(action) is not None for action in _ACTIONS):
        raise InvalidRequest("At least one action needs to be specified in a rule.")
    _check_filter(rule)
    expiration = rule.get("Expiration")
    if expiration is not None:
        given = [name for name in ("Days", "Date", "ExpiredObjectDeleteMarker") if expiration.get(name) is not None]
        if len(given) != 1:
            raise MalformedXML("An Expiration has one of Days, Date and ExpiredObjectDeleteMarker.")
        _positive(expiration, "Days", "Expiration")
        date = expiration.get("Date")
        if date is not None and date != date.replace(hour=0, minute=0, second=0, microsecond=0):
            raise InvalidArgument("'Date' must be at midnight GMT", ArgumentName="Date", ArgumentValue=str(date))
    noncurrent = rule.get("NoncurrentVersionExpiration")
    if noncurrent is not None:
        if noncurrent.get("NoncurrentDays") is None:
            raise MalformedXML("A NoncurrentVersionExpiration has NoncurrentDays.")
        _positive(noncurrent, "NoncurrentDays", "NoncurrentVersionExpiration")
        if not 1 <= noncurrent.get("NewerNoncurrentVersions", 1) <= 100:
            raise InvalidArgument("'NewerNoncurrentVersions' must be between 1 and 100")
    abort = rule.get("AbortIncompleteMultipartUpload")
    if abort is not None:
        if abort.get("DaysAfterInitiation") is None:
            raise MalformedXML("An AbortIncompleteMultipartUpload has DaysAfterInitiation.")
        _positive(abort, "DaysAfterInitiation", "AbortIncompleteMultipartUpload")
        if _filter(rule) - {"Prefix"}:
            raise InvalidRequest("AbortIncompleteMultipartUpload cannot be specified with Tags or sizes.")


def _check_filter(rule: Mapping[str, Any]) -> None:
    chosen = rule.get("Filter") or {}
    if len(chosen) > 1:
        raise MalformedXML("A Filter has one of Prefix, Tag, ObjectSizeGreaterThan, ObjectSizeLessThan and And.")
    both = chosen.get("And") or chosen
    pairs = [(tag.get("Key", ""), tag.get("Value", "")) for tag in _tags(both)]
    tags.checked(pairs, tags.MOST_OF_OBJECT)
    low, high = both.get("ObjectSizeGreaterThan"), both.get("ObjectSizeLessThan")
    if low is not None and high is not None and high <= low:
        raise InvalidRequest("'ObjectSizeLessThan' has to be a value greater than 'ObjectSizeGreaterThan'.")


def _filter(rule: Mapping[str, Any]) -> set[str]:
    chosen = rule.get("Filter") or {}
    return set(chosen.get("And") or chosen)


def _tags(chosen: Mapping[str, Any]) -> list[Mapping[str, str]]:
    return list(chosen.get("Tags") or ()) + ([chosen["Tag"]] if chosen.get("Tag") else [])


def _positive(action: Mapping[str, Any], name: str, where: str) -> None:
    if action.get(name) is not None and not 1 <= action[name] <= 2_147_483_647:
        raise InvalidArgument(
            f"'{name}' for {where} action must be a positive integer", ArgumentName=name, ArgumentValue=action[name]
        )


def as_kept(rules: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """For a document, which has no times: a Date becomes text."""
    kept = []
    for rule in rules:
        expiration = rule.get("Expiration")
        if expiration and expiration.get("Date") is not None:
            rule = {**rule, "Expiration": {**expiration, "Date": expiration["Date"].isoformat()}}
        kept.append(dict(rule))
    return kept


def as_shown(rules: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The opposite."""
    shown = []
    for rule in rules:
        expiration = rule.get("Expiration")
        if expiration and expiration.get("Date") is not None:
            rule = {**rule, "Expiration": {**expiration, "Date": datetime.fromisoformat(expiration["Date"])}}
        shown.append(dict(rule))
    return shown


def enabled(kept: Sequence[Mapping[str, Any]]) -> list[Rule]:
    """Those of a kept configuration that are to be followed."""
    found = []
    for rule in as_shown(kept):
        if rule["Status"] != "Enabled":
            continue
        chosen = rule.get("Filter") or {}
        chosen = chosen.get("And") or chosen
        expiration, noncurrent = rule.get("Expiration") or {}, rule.get("NoncurrentVersionExpiration") or {}
        abort = rule.get("AbortIncompleteMultipartUpload") or {}
        found.append(
            Rule(
                id=rule["ID"],
                prefix=rule.get("Prefix") or chosen.get("Prefix") or "",
                tags=tuple((tag["Key"], tag["Value"]) for tag in _tags(chosen)),
                larger_than=chosen.get("ObjectSizeGreaterThan"),
                smaller_than=chosen.get("ObjectSizeLessThan"),
                days=expiration.get("Days"),
                date=expiration.get("Date"),
                removes_markers=bool(expiration.get("ExpiredObjectDeleteMarker")),
                noncurrent_days=noncurrent.get("NoncurrentDays"),
                newer_kept=noncurrent.get("NewerNoncurrentVersions") or 0,
                abort_days=abort.get("DaysAfterInitiation"),
            )
        )
    return found


def due(rules: Sequence[Rule], versions: Sequence[ListedVersion], now: datetime) -> list[Due]:
    """What is to go of one key. versions: all of that key, newest first."""
    newest, behind = versions[0], versions[1:]
    found: list[Due] = []
    for number, version in enumerate(behind):
        since = versions[number].modified  # it is not current since its successor came
        if any(_noncurrent_is_due(rule, version, since, number, now) for rule in rules):
            found.append(Due(version.key, version.version, version.sequence))
    if newest.marker:
        alone = len(found) == len(behind)
        if alone and any(_marker_is_due(rule, newest, now) for rule in rules):
            found.append(Due(newest.key, newest.version, newest.sequence))
    elif any(_current_is_due(rule, newest, now) for rule in rules):
        found.append(Due(newest.key, "", newest.sequence))
    return found


def upload_is_due(rules: Sequence[Rule], upload: Upload, now: datetime) -> bool:
    return any(
        rule.abort_days is not None
        and upload.key.startswith(rule.prefix)
        and midnight_after(upload.started, rule.abort_days) <= now
        for rule in rules
    )


def midnight_after(moment: datetime, days: int) -> datetime:
    """`days` days later, at the next midnight UTC."""
    later = moment.astimezone(UTC) + timedelta(days=days)
    day = later.replace(hour=0, minute=0, second=0, microsecond=0)
    return day if day == later else day + timedelta(days=1)


def _fits(rule: Rule, version: ListedVersion) -> bool:
    return (
        version.key.startswith(rule.prefix)
        and all(version.tags.get(key) == value for key, value in rule.tags)
        and (rule.larger_than is None or version.size > rule.larger_than)
        and (rule.smaller_than is None or version.size < rule.smaller_than)
    )


def _current_is_due(rule: Rule, version: ListedVersion, now: datetime) -> bool:
    if not _fits(rule, version):
        return False
    if rule.date is not None and rule.date <= now:
        return True
    return rule.days is not None and midnight_after(version.modified, rule.days) <= now


def _marker_is_due(rule: Rule, marker: ListedVersion, now: datetime) -> bool:
    """One behind which nothing is left. A marker has neither size nor tags, so filters by these leave it."""
    if not marker.key.startswith(rule.prefix) or rule.tags or rule.larger_than is not None:
        return False
    if rule.smaller_than is not None:
        return False
    if rule.removes_markers:
        return True
    return rule.days is not None and midnight_after(marker.modified, rule.days) <= now


def _noncurrent_is_due(rule: Rule, version: ListedVersion, since: datetime, newer: int, now: datetime) -> bool:
    """newer: how many versions that are not current either are newer."""
    if rule.noncurrent_days is None or newer < rule.newer_kept:
        return False
    return _fits(rule, version) and midnight_after(since, rule.noncurrent_days) <= now
