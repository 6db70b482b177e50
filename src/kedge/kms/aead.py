"""Seal a few bytes under a key: AES-256-GCM, with a key of its own for each message.

    salt (32 bytes) | ciphertext | tag (16 bytes)

The message's key comes from the given one and the salt by HKDF-SHA256, so any number of messages may be sealed under
one key: a nonce is never used twice under one message key. Whole bodies are sealed by kedge.objects.sealed.
"""

from __future__ import annotations

import os

KEY_BYTES = 32
SALT_BYTES = 32
TAG_BYTES = 16
_NONCE = bytes(12)


class NotOpened(Exception):
    """Sealed under another key, with other bound data, or damaged: which of them, nobody can tell."""


def seal(key: bytes, data: bytes, bound: bytes) -> bytes:
    """`bound` is not in the result, but has to be given again to open it."""
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    salt = os.urandom(SALT_BYTES)
    return salt + AESGCM(derived(key, salt, b"kedge message")).encrypt(_NONCE, data, bound)


def unseal(key: bytes, sealed: bytes, bound: bytes) -> bytes:
    """Raises NotOpened."""
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    if len(sealed) < SALT_BYTES + TAG_BYTES:
        raise NotOpened
    try:
        message_key = derived(key, sealed[:SALT_BYTES], b"kedge message")
        return AESGCM(message_key).decrypt(_NONCE, sealed[SALT_BYTES:], bound)
    except InvalidTag:
        raise NotOpened from None


def derived(key: bytes, salt: bytes, purpose: bytes) -> bytes:
    """32 bytes that say nothing about `key`, another for each salt and purpose (HKDF, RFC 5869)."""
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    return HKDF(SHA256(), KEY_BYTES, salt, purpose).derive(key)
