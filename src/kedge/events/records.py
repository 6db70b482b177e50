"""Actions: what something that has happened causes elsewhere, such as the message of an alarm to a topic.

An action is written in the transaction of what caused it and is carried out at least once after that commits, across
every restart; delivery.py does it. Whoever asked is told of the outcome in a transaction too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from kedge.store.listing import micros, moment
from kedge.store.records import Document
from kedge.store.transaction import Transaction

_EPOCH = moment(0)

QUEUE = "action"
"""Kind of the store's queues that actions wait in, and the name of the one there is."""


@dataclass(frozen=True)
class Action:
    id: str
    """Chosen by who asks. While an action of this id waits, another is not taken."""
    account: str
    """In whose name it is done, and where."""
    region: str
    target_arn: str
    """What to reach, as the caller has written it: the ARN of a topic, of a scaling policy, ..."""
    subject: str
    message: str
    attributes: Mapping[str, Any] = field(default_factory=dict)
    """JSON, for who asked: it is handed back with the outcome. No part of the message."""
    at: datetime = _EPOCH
    source_arn: str = ""
    """Who asks: the ARN of an alarm. Its service is told the outcome, and policies of targets can ask for it."""

    @classmethod
    def of(cls, document: Document) -> Action:
        return cls(**{**document, "at": moment(document["at"])})

    def document(self) -> Document:
        return {
            "id": self.id,
            "account": self.account,
            "region": self.region,
            "target_arn": self.target_arn,
            "subject": self.subject,
            "message": self.message,
            "attributes": dict(self.attributes),
            "at": micros(self.at),
            "source_arn": self.source_arn,
        }


@dataclass(frozen=True)
class Outcome:
    """How an action ended."""

    succeeded: bool
    reason: str = ""
    """Why it did not; a sentence."""
    reference: str = ""
    """What came of it: the MessageId of what was published."""


Told = Callable[[Transaction, Action, Outcome], None]
"""What is told to who asked, in the transaction that ends the action: exactly once. Writes through it alone."""


def write(tx: Transaction, action: Action) -> None:
    """Have it done after this transaction's commit."""
    tx.put(QUEUE, [QUEUE], action.document(), action.id)
