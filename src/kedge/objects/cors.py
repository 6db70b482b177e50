"""Requests of web pages from elsewhere: which are allowed, and the headers that say so to the browser. PURE.

Source: "Using cross-origin resource sharing (CORS)" and the elements of a CORS configuration in the S3 user guide.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kedge.objects.errors import InvalidRequest, MalformedXML

METHODS = frozenset({"GET", "PUT", "POST", "DELETE", "HEAD"})
MOST_RULES = 100
_VARY = "Origin, Access-Control-Request-Headers, Access-Control-Request-Method"

Rule = Mapping[str, Any]


def check(rules: Sequence[Rule]) -> None:
    """Raises MalformedXML, InvalidRequest."""
    if not 1 <= len(rules) <= MOST_RULES:
        raise MalformedXML(f"A CORS configuration has 1 to {MOST_RULES} rules; this one has {len(rules)}.")
    for rule in rules:
        if not rule.get("AllowedMethods") or not rule.get("AllowedOrigins"):
            raise MalformedXML("A CORS rule has at least one AllowedMethod and one AllowedOrigin.")
        for method in rule["AllowedMethods"]:
            if method not in METHODS:
                raise InvalidRequest(
                    f"Found unsupported HTTP method in CORS config. Unsupported method is {method[:64]}"
                )
        for kind in ("AllowedOrigins", "AllowedHeaders"):
            for each in rule.get(kind) or ():
                if each.count("*") > 1:
                    name = kind[:-1]
                    raise InvalidRequest(f'{name} "{each[:256]}" can not have more than one wildcard.')
        for each in rule.get("ExposeHeaders") or ():
            if "*" in each:
                raise InvalidRequest(f'ExposeHeader "{each[:256]}" contains wildcard. We currently do not support it.')


def matching(rules: Sequence[Rule], origin: str, method: str, headers: Sequence[str] = ()) -> Rule | None:
    """The first rule that allows it. headers: those that the page wants to send, named by a preflight."""
    for rule in rules:
        if (
            method in rule["AllowedMethods"]
            and any(_fits(pattern, origin) for pattern in rule["AllowedOrigins"])
            and all(
                any(_fits(pattern.lower(), header.lower()) for pattern in rule.get("AllowedHeaders") or ())
                for header in headers
            )
        ):
            return rule
    return None


def answer_headers(rule: Rule, origin: str, headers: Sequence[str] = ()) -> dict[str, str]:
    """What an answer says to a page of that origin. headers: as in `matching`."""
    anyone = "*" in rule["AllowedOrigins"]
    said = {
        "access-control-allow-origin": "*" if anyone else origin,
        "access-control-allow-methods": ", ".join(rule["AllowedMethods"]),
        "vary": _VARY,
    }
    if headers:
        said["access-control-allow-headers"] = ", ".join(header.lower() for header in headers)
    if rule.get("ExposeHeaders"):
        said["access-control-expose-headers"] = ", ".join(rule["ExposeHeaders"])
    if rule.get("MaxAgeSeconds") is not None:
        said["access-control-max-age"] = str(rule["MaxAgeSeconds"])
    if not anyone:
        said["access-control-allow-credentials"] = "true"
    return said


def _fits(pattern: str, text: str) -> bool:
    before, star, after = pattern.partition("*")
    if not star:
        return pattern == text
    return len(text) >= len(before) + len(after) and text.startswith(before) and text.endswith(after)
