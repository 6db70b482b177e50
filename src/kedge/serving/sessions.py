"""Sessions that a model keeps in the memory of one of its instances: their ids say which one. PURE.

The model opens a session when it is asked to, and gives it an id and an end. The client gets a longer id, which also
says which instance holds the session and until when, sealed so that nobody can make one up. So every router can read
it, one that has just begun too, and none has to remember it.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from datetime import UTC, datetime
from functools import lru_cache
from typing import NamedTuple

NEW = "NEW_SESSION"
"""In the place of an id: a session is to be opened."""
MAX_CHARS = 256
_OPENED = re.compile(r"([a-zA-Z0-9](?:-*[a-zA-Z0-9])*);\sExpires=([0-9-]{10}T[0-9:]{8}Z)")
_SEALED = re.compile(r"(.+)-([0-9a-f]{16})([0-9a-f]{9})([0-9a-f]{16})")
_LATEST_S = 16**9 - 1


class Session(NamedTuple):
    id: str
    """The model's."""
    holder: str
    """Of its instance."""
    expires_s: int
    """Seconds since 1970."""


@lru_cache(4096)
def holder_of(instance: str) -> str:
    """What a session says of the instance with this id."""
    return hashlib.blake2b(instance.encode(), digest_size=8).hexdigest()


def opened(said: str, instance: str) -> Session:
    """said: the model's, ID; Expires=yyyy-mm-ddThh:mm:ssZ. Raises ValueError."""
    found = _OPENED.fullmatch(said)
    if found is None:
        raise ValueError(
            f'The model\'s new session is "{said[:64]}"; it has to be like ID; Expires=2030-01-02T03:04:05Z.'
        )
    ends = datetime.strptime(found[2], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    return Session(found[1], holder_of(instance), min(_LATEST_S, max(0, int(ends.timestamp()))))


def header_of(session: Session, key: bytes, endpoint: str) -> str:
    """The client's NewSessionId. key: of all routers. endpoint: its ARN. Raises ValueError where it is too long."""
    ends = datetime.fromtimestamp(session.expires_s, UTC)
    header = f"{sealed(session, key, endpoint)}; Expires={ends:%Y-%m-%dT%H:%M:%SZ}"
    if len(header) > MAX_CHARS:
        raise ValueError(f"The model's session id has {len(session.id)} characters; at most 180 are allowed.")
    return header


def sealed(session: Session, key: bytes, endpoint: str) -> str:
    """The id by which the client knows the session."""
    seal = _seal(session, key, endpoint)
    return f"{session.id}-{session.holder}{session.expires_s:09x}{seal}"


def read(text: str, key: bytes, endpoint: str) -> Session | None:
    """Of an id that a client gives; None where it is none of this endpoint's."""
    found = _SEALED.fullmatch(text)
    if found is None:
        return None
    session = Session(found[1], found[2], int(found[3], 16))
    return session if hmac.compare_digest(found[4], _seal(session, key, endpoint)) else None


def _seal(session: Session, key: bytes, endpoint: str) -> str:
    text = f"{endpoint}/{session.id}/{session.holder}/{session.expires_s}"
    return hashlib.blake2b(text.encode(), digest_size=8, key=key[:64], person=b"kedge session").hexdigest()
