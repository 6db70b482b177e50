"""The KMS operations that there are.

Grants cannot be made: a principal is allowed to use a key by policies alone. The lists of grants say that there are
none, which clients ask without having made any.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from kedge.call import Call
from kedge.kms import alias_operations, crypto_operations, key_operations
from kedge.kms.errors import InvalidGrantId
from kedge.kms.keystore import KeyStore
from kedge.kms.requests import Handler, Request, Result, key_named


def list_grants(keys: KeyStore, call: Call, request: Request) -> Result:
    key_named(keys, call, request["KeyId"])
    if request.get("GrantId"):
        raise InvalidGrantId(f"There is no grant {request['GrantId']}.")
    return {"Grants": [], "Truncated": False}


def list_retirable_grants(keys: KeyStore, call: Call, request: Request) -> Result:
    return {"Grants": [], "Truncated": False}


_GRANTS: dict[str, Handler] = {
    "kms.ListGrants": list_grants,
    "kms.ListRetirableGrants": list_retirable_grants,
}


def operations(keys: KeyStore) -> dict[str, Callable[[Call, Request], Result]]:
    """By "service.Operation"."""
    table = {**key_operations.OPERATIONS, **alias_operations.OPERATIONS, **crypto_operations.OPERATIONS, **_GRANTS}
    return {name: partial(handler, keys) for name, handler in table.items()}
