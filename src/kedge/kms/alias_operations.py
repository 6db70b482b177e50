"""Aliases: names of keys that can be moved from one key to another."""

from __future__ import annotations

from kedge.call import Call
from kedge.errors import ValidationFailed
from kedge.kms import records
from kedge.kms.errors import AlreadyThere, InvalidAliasName, LimitExceeded, NotAuthorized, NotFound
from kedge.kms.keystore import KeyStore, check_not_pending
from kedge.kms.requests import Handler, Request, Result, author, following, key_named, own_key, page, resources
from kedge.store.records import AlreadyExists, Resource
from kedge.store.transaction import Transaction

MOST_ALIASES = 50
"""Of one key."""


def create_alias(keys: KeyStore, call: Call, request: Request) -> Result:
    name = _checked(request["AliasName"])
    try:
        with call.store.transaction(author(call)) as tx:
            key = _target(keys, call, request, tx)
            count = sum(alias.document["TargetKeyId"] == key.name for alias in tx.list(call.scope, records.ALIAS).items)
            if count >= MOST_ALIASES:
                raise LimitExceeded(f"{records.key_arn(key)} has {count} aliases; a key has at most {MOST_ALIASES}.")
            tx.insert(call.scope, records.ALIAS, name, {"TargetKeyId": key.name})
    except AlreadyExists:
        raise AlreadyThere(f"An alias with the name {records.arn_of(call.scope, name)} already exists") from None
    return {}


def update_alias(keys: KeyStore, call: Call, request: Request) -> Result:
    name = _checked(request["AliasName"])
    with call.store.transaction(author(call)) as tx:
        alias = _found(call, name, tx)
        tx.update(alias, {"TargetKeyId": _target(keys, call, request, tx).name})
    return {}


def delete_alias(keys: KeyStore, call: Call, request: Request) -> Result:
    name = _checked(request["AliasName"])
    with call.store.transaction(author(call)) as tx:
        tx.delete(_found(call, name, tx))
    return {}


def list_aliases(keys: KeyStore, call: Call, request: Request) -> Result:
    if "KeyId" not in request:
        found = resources(call, records.ALIAS, request)
        return {"Aliases": [_shown(alias) for alias in found.items], **following(found.next)}
    key = key_named(keys, call, request["KeyId"])
    aliases = [
        alias for alias in call.store.list(call.scope, records.ALIAS).items if alias.document["TargetKeyId"] == key.name
    ]
    shown, more = page(aliases, request)
    return {"Aliases": [_shown(alias) for alias in shown], **more}


def _target(keys: KeyStore, call: Call, request: Request, tx: Transaction) -> Resource:
    key = own_key(keys, call, request["TargetKeyId"], tx)
    check_not_pending(key)
    return key


def _found(call: Call, name: str, tx: Transaction) -> Resource:
    alias = tx.get(call.scope, records.ALIAS, name)
    if alias is None:
        raise NotFound(f"Alias {records.arn_of(call.scope, name)} is not found.")
    return alias


def _checked(name: str) -> str:
    """Raises ValidationFailed, NotAuthorized, InvalidAliasName."""
    if not name.startswith("alias/"):
        raise ValidationFailed(f'Invalid identifier: "{name}" has to begin with "alias/".')
    if name.startswith("alias/aws/") or name == "alias/aws":
        raise NotAuthorized(f'"{name}": aliases that begin with "alias/aws/" belong to AWS managed keys.')
    if records.ALIAS_NAME.fullmatch(name) is None:
        raise InvalidAliasName(f'"{name}": behind "alias/" are 1 to 250 letters, digits, "/", "_" and "-".')
    return name


def _shown(alias: Resource) -> Result:
    return {
        "AliasName": alias.name,
        "AliasArn": records.arn_of(alias.scope, alias.name),
        "TargetKeyId": alias.document["TargetKeyId"],
        "CreationDate": alias.created_at,
        "LastUpdatedDate": alias.modified_at,
    }


OPERATIONS: dict[str, Handler] = {
    "kms.CreateAlias": create_alias,
    "kms.UpdateAlias": update_alias,
    "kms.DeleteAlias": delete_alias,
    "kms.ListAliases": list_aliases,
}
