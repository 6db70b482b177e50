"""Are the users and roles that a policy names there?

AWS takes no policy that names one that is not: whoever made a user of that name later would be let in.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from kedge.identity.entities import ROLE, USER, scope_of
from kedge.identity.policy_documents import texts

if TYPE_CHECKING:
    from kedge.store.store import Store

_KINDS = {kind.part: kind for kind in (USER, ROLE)}


def missing(store: Store, account: str, statements: Iterable[Mapping[str, Any]]) -> str | None:
    """The first user or role of this account that is named and not there, as {"AWS": ARN}. Blocks."""
    for statement in statements:
        principal = statement.get("Principal", statement.get("NotPrincipal"))
        for name in texts(principal.get("AWS")) if isinstance(principal, dict) else ():
            named = re.fullmatch(rf"arn:[^:]+:iam::{account}:(user|role)/(?:.*/)?([^/]*)", name)
            if named is None:
                continue
            kind = _KINDS[named[1]]
            found = store.get(scope_of(account), kind.kind, named[2].lower())
            if found is None or found.document["Arn"] != name:
                return json.dumps({"AWS": name})
    return None
