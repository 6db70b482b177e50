"""Log groups: made, shown, kept for how long, protected, deleted."""

from __future__ import annotations

from kedge.call import Call
from kedge.errors import InvalidParameter, ValidationFailed
from kedge.logs import records
from kedge.logs.errors import AlreadyThere
from kedge.logs.records import KIND, Group
from kedge.logs.requests import Handler, Request, Result, author, change, changing, named_by, next_token, place_of
from kedge.logs.store import LogStore
from kedge.logs.tag_operations import attach, detach
from kedge.store.records import AlreadyExists, Resource

MOST_GROUPS = 50
"""Of a page."""
_CLASSES = ("STANDARD", "INFREQUENT_ACCESS")
_NO_KEY = "log groups under a KMS key are not offered: events are kept as they come, in the data directory."


def create_log_group(logs: LogStore, call: Call, request: Request) -> Result:
    name, kind = request["logGroupName"], request.get("logGroupClass", "STANDARD")
    if name.startswith("aws/"):
        raise InvalidParameter(f"Log groups starting with AWS/ are reserved for AWS: '{name}'.")
    if "kmsKeyId" in request:
        raise InvalidParameter(f"kmsKeyId '{request['kmsKeyId']}': {_NO_KEY}")
    if kind not in _CLASSES:
        raise InvalidParameter(f"logGroupClass '{kind}' is not offered; there are {' and '.join(_CLASSES)}.")
    document = records.document(kind, protected=request.get("deletionProtectionEnabled", False))
    try:
        with call.store.transaction(author(call)) as tx:
            attach(call, tx, Group.of(tx.insert(call.scope, KIND, name, document)), request.get("tags", {}))
    except AlreadyExists:
        raise AlreadyThere("The specified log group already exists") from None
    return {}


def delete_log_group(logs: LogStore, call: Call, request: Request) -> Result:
    with changing(call, request["logGroupName"]) as (tx, found):
        group = Group.of(found)
        if group.protected:
            raise ValidationFailed(
                f"The log group '{group.name}' has deletion protection; PutLogGroupDeletionProtection disables it."
            )
        tx.delete(found)
        detach(call, tx, group)
    logs.delete_group(group.id)
    return {}


def describe_log_groups(logs: LogStore, call: Call, request: Request) -> Result:
    if request.get("includeLinkedAccounts") or request.get("accountIdentifiers"):
        raise InvalidParameter("Linked accounts are not offered: log groups of the caller's own account are shown.")
    prefix, pattern = request.get("logGroupNamePrefix"), request.get("logGroupNamePattern")
    if prefix is not None and pattern is not None:
        raise InvalidParameter("LogGroup name prefix and LogGroup name pattern are mutually exclusive parameters.")
    identifiers = request.get("logGroupIdentifiers")
    if identifiers is not None and (prefix is not None or pattern is not None):
        raise InvalidParameter("logGroupIdentifiers cannot be given together with a name prefix or pattern.")
    question = [prefix, pattern, identifiers, request.get("logGroupClass")]
    place = place_of(call, request.get("nextToken"), "groups", *question)
    names = None if identifiers is None else {named_by(call, each) for each in identifiers}

    def wanted(group: Resource) -> bool:
        return (
            group.name.startswith(prefix or "")
            and (names is None or group.name in names)
            and group.document["Class"] == request.get("logGroupClass", group.document["Class"])
        )

    found: list[Resource] = []
    limit = request.get("limit", MOST_GROUPS)
    while len(found) < limit:
        page = call.store.list(
            call.scope, KIND, name_contains=prefix or pattern or "", limit=limit - len(found), after=place
        )
        found += filter(wanted, page.items)
        place = page.next
        if place is None:
            break
    groups = [Group.of(each) for each in found]
    return {
        "logGroups": [group.described(logs.stored_bytes(group.id)) for group in groups],
        **next_token(call, place, "groups", *question),
    }


def put_retention_policy(logs: LogStore, call: Call, request: Request) -> Result:
    days = request["retentionInDays"]
    if days not in records.RETENTION_DAYS:
        allowed = ", ".join(map(str, records.RETENTION_DAYS))
        raise InvalidParameter(
            f"1 validation error detected: Value '{days}' at 'retentionInDays' failed to satisfy constraint: "
            f"Member must satisfy enum value set: [{allowed}]"
        )
    change(call, request["logGroupName"], RetentionDays=days)
    return {}


def delete_retention_policy(logs: LogStore, call: Call, request: Request) -> Result:
    change(call, request["logGroupName"], RetentionDays=None)
    return {}


def put_log_group_deletion_protection(logs: LogStore, call: Call, request: Request) -> Result:
    name = named_by(call, request["logGroupIdentifier"])
    change(call, name, Protected=request["deletionProtectionEnabled"])
    return {}


OPERATIONS: dict[str, Handler] = {
    "logs.CreateLogGroup": create_log_group,
    "logs.DeleteLogGroup": delete_log_group,
    "logs.DescribeLogGroups": describe_log_groups,
    "logs.PutRetentionPolicy": put_retention_policy,
    "logs.DeleteRetentionPolicy": delete_retention_policy,
    "logs.PutLogGroupDeletionProtection": put_log_group_deletion_protection,
}
