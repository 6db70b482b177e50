"""What every List operation of SageMaker shares: filters, sorting, and pages whose token belongs to one question.

A token is the store's cursor with a digest of who asked for what. A token that comes back with other filters would
give a page of another list, so it is refused.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any

from kedge.call import Call
from kedge.errors import ValidationFailed
from kedge.store.listing import SortBy
from kedge.store.store import Resource

DEFAULT_RESULTS = 10
SORT_KEYS: Mapping[str, SortBy] = {
    "Name": "name",
    "CreationTime": "created_at",
    "Status": "status",
    "ScheduledTime": "name",  # of executions, whose names begin alike and go on with that time
}


def resources(
    call: Call,
    kind: str,
    request: Mapping[str, Any],
    *,
    sort_by: str = "CreationTime",
    sort_order: str = "Descending",
    name_prefix: str = "",
    has_slash: bool | None = None,
    fits: Callable[[Resource], bool] = lambda _: True,
) -> tuple[list[Resource], dict[str, str]]:
    """One page of the caller's resources, and {"NextToken": ...}, empty on the last page. Wire names in `request`.

    fits: whether one is asked for, by what the store has no filter for.
    """
    sort_by = request.get("SortBy", sort_by)
    sort_order = request.get("SortOrder", sort_order)
    question = _digest(call, kind, {**request, "SortBy": sort_by, "SortOrder": sort_order})
    limit = request.get("MaxResults", DEFAULT_RESULTS)
    after = opened(request["NextToken"], question) if request.get("NextToken") else None
    found: list[Resource] = []
    while True:
        page = call.store.list(
            call.scope,
            kind,
            name_contains=request.get("NameContains", ""),
            name_prefix=name_prefix,
            has_slash=has_slash,
            status=request.get("StatusEquals", ""),
            created_after=request.get("CreationTimeAfter"),
            created_before=request.get("CreationTimeBefore"),
            modified_after=request.get("LastModifiedTimeAfter"),
            modified_before=request.get("LastModifiedTimeBefore"),
            sort_by=SORT_KEYS[sort_by],
            descending=sort_order == "Descending",
            limit=limit - len(found),
            after=after,
        )
        found += [each for each in page.items if fits(each)]
        after = page.next
        if after is None or len(found) == limit:
            break
    return found, {} if after is None else {"NextToken": sealed(after, question)}


def sealed(cursor: str, question: str) -> str:
    return base64.urlsafe_b64encode(json.dumps([question, cursor]).encode()).decode()


def opened(token: str, question: str) -> str:
    """Raises ValidationFailed for a token that was not given for this question."""
    try:
        given, cursor = json.loads(base64.b64decode(token, b"-_", validate=True))
    except (ValueError, TypeError, RecursionError):
        given, cursor = None, None
    if given != question or not isinstance(cursor, str):
        raise ValidationFailed(
            "NextToken is not one that this list has given for these filters; use the same filters, or start again "
            "without it."
        )
    return cursor


def _digest(call: Call, kind: str, request: Mapping[str, Any]) -> str:
    asked = {name: str(value) for name, value in request.items() if name not in ("NextToken", "MaxResults")}
    whole = [call.scope.account, call.scope.region, kind, sorted(asked.items())]
    return hashlib.sha256(json.dumps(whole).encode()).hexdigest()[:32]
