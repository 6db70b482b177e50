"""What is configured for a bucket: one document in the resource store, so each change has its row in the history.

Scope("", "") and kind "Bucket", under the bucket's name, since a name belongs to all accounts. Its members:

    Id                  of the bucket in the object index; a document of another id is of a bucket that is gone
    Account, Region     of the bucket
    Policy              the bucket policy, JSON as text, as it was put
    PublicAccessBlock   {"BlockPublicAcls": bool, "IgnorePublicAcls": bool, "BlockPublicPolicy": bool,
                        "RestrictPublicBuckets": bool}; None: deleted, so nothing is blocked; absent: never changed,
                        so all four are true
    ObjectOwnership     "BucketOwnerEnforced" (when absent), "BucketOwnerPreferred" or "ObjectWriter"
    Acl                 a canned ACL; absent is "private"
    Tags                {key: value}
    Cors, Lifecycle     in the shape of the API

There is a document only once something was configured. Versioning and notifications are not in it: what a commit of
the object store has to know lies in its own index.
"""

from __future__ import annotations

from typing import Any

from kedge.call import Call
from kedge.objects.records import Bucket
from kedge.store.store import Author, Document, Scope, Store

KIND = "Bucket"
SCOPE = Scope("", "")

BLOCKS = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")
ENFORCED = "BucketOwnerEnforced"


def read(store: Store, bucket: Bucket) -> Document:
    """{} where nothing was configured. Blocks."""
    found = store.get(SCOPE, KIND, bucket.name)
    return found.document if found is not None and found.document.get("Id") == bucket.id else {}


def change(call: Call, bucket: Bucket, **members: Any) -> None:
    """Set members; those that are given as `...` go. Blocks."""
    with call.store.transaction(_author(call)) as tx:
        found = tx.get(SCOPE, KIND, bucket.name)
        before: Document = {"Id": bucket.id, "Account": bucket.account, "Region": bucket.region}
        if found is not None and found.document.get("Id") == bucket.id:
            before = found.document
        after = {name: value for name, value in {**before, **members}.items() if value is not ...}
        if found is None:
            tx.insert(SCOPE, KIND, bucket.name, after)
        elif after != found.document:
            tx.update(found, after)


def forget(call: Call, bucket: Bucket, *, others: bool = False) -> None:
    """Remove the document of a bucket that is gone; others: that of an earlier bucket of its name. Blocks."""
    found = call.store.get(SCOPE, KIND, bucket.name)
    if found is None or (found.document.get("Id") == bucket.id) == others:
        return
    with call.store.transaction(_author(call)) as tx:
        found = tx.get(SCOPE, KIND, bucket.name)
        if found is not None and (found.document.get("Id") == bucket.id) != others:
            tx.delete(found)


def blocks(document: Document, name: str) -> bool:
    """One of BLOCKS. A new bucket has all of them on."""
    chosen = document.get("PublicAccessBlock", ...)
    if chosen is ...:
        return True
    return bool(chosen and chosen.get(name))


def _author(call: Call) -> Author:
    return Author(call.caller.arn, call.request_id, call.now)
