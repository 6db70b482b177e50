"""The copy of a model that a Clarify job asks: an endpoint of the job's own, which goes with it however it ends.

The job's program makes it with the job's role, says by a tag whose it is, and deletes it when it is done. A program
that was killed cannot; then it is deleted here.
"""

from __future__ import annotations

from kedge import arn
from kedge.endpoints import ending
from kedge.endpoints.records import CONFIG_KIND, KIND
from kedge.monitoring.clarify.shadow_name import TAG, suffix
from kedge.store.records import Scope
from kedge.store.transaction import Transaction
from kedge.tags import attach


def remove(tx: Transaction, scope: Scope, job_arn: str) -> None:
    """What the job with this ARN has made and left."""
    for kind in (KIND, CONFIG_KIND):
        for each in tx.list(scope, kind, name_contains=suffix(job_arn)).items:
            own_arn = arn.sagemaker(scope.region, scope.account, kind, each.name)
            if {"Key": TAG, "Value": job_arn} not in attach.read(tx, scope, own_arn):
                continue
            if kind == KIND:
                ending.end(tx, each)
            else:
                tx.delete(each)
                attach.detach(tx, scope, own_arn)
