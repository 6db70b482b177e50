"""Encrypt, decrypt, and data keys."""

from __future__ import annotations

import os
from collections.abc import Mapping

from kedge.call import Call
from kedge.errors import AccessDenied, ValidationFailed
from kedge.kms import blob, records
from kedge.kms.errors import DryRun, IncorrectKey, InvalidGrantToken, InvalidKeyUsage
from kedge.kms.keystore import KeyStore, check_usable, not_a_ciphertext
from kedge.kms.requests import Handler, Request, Result, key_named, refuse
from kedge.store.records import Resource

LARGEST_CONTEXT_CHARS = 8192
_KEY_BYTES = {"AES_256": 32, "AES_128": 16}
_NO_ENCLAVE = "answers for Nitro enclaves are not offered."


def encrypt(keys: KeyStore, call: Call, request: Request) -> Result:
    _check_options(request, "EncryptionAlgorithm")
    key, context = _usable(keys, call, request["KeyId"]), _context(request, "EncryptionContext")
    _end_dry_run(request)
    return {
        "CiphertextBlob": keys.encrypt(key, request["Plaintext"], context),
        "KeyId": records.key_arn(key),
        "EncryptionAlgorithm": records.ALGORITHM,
    }


def decrypt(keys: KeyStore, call: Call, request: Request) -> Result:
    _check_options(request, "EncryptionAlgorithm")
    ciphertext = _ciphertext(request)
    key = _source(keys, call, ciphertext, request.get("KeyId"))
    plaintext = keys.decrypt(key, ciphertext, _context(request, "EncryptionContext"))
    _end_dry_run(request)
    return {
        "KeyId": records.key_arn(key),
        "Plaintext": plaintext,
        "EncryptionAlgorithm": records.ALGORITHM,
        "KeyMaterialId": _material_of(key, ciphertext),
    }


def re_encrypt(keys: KeyStore, call: Call, request: Request) -> Result:
    _check_options(request, "SourceEncryptionAlgorithm", "DestinationEncryptionAlgorithm")
    given = _ciphertext(request)
    source = _source(keys, call, given, request.get("SourceKeyId"))
    destination = _usable(keys, call, request["DestinationKeyId"])
    plaintext = keys.decrypt(source, given, _context(request, "SourceEncryptionContext"))
    context = _context(request, "DestinationEncryptionContext")
    _end_dry_run(request)
    ciphertext = keys.encrypt(destination, plaintext, context)
    return {
        "CiphertextBlob": ciphertext,
        "SourceKeyId": records.key_arn(source),
        "KeyId": records.key_arn(destination),
        "SourceEncryptionAlgorithm": records.ALGORITHM,
        "DestinationEncryptionAlgorithm": records.ALGORITHM,
        "SourceKeyMaterialId": _material_of(source, given),
        "DestinationKeyMaterialId": _material_of(destination, ciphertext),
    }


def generate_data_key(keys: KeyStore, call: Call, request: Request) -> Result:
    _check_options(request)
    spec, count = request.get("KeySpec"), request.get("NumberOfBytes")
    if (spec is None) == (count is None):
        raise ValidationFailed("Please specify either number of bytes or key spec.")
    size: int | None = count if spec is None else _KEY_BYTES.get(spec)
    if size is None:
        raise ValidationFailed(f"KeySpec is {spec}; it has to be {' or '.join(_KEY_BYTES)}.")
    key, context = _usable(keys, call, request["KeyId"]), _context(request, "EncryptionContext")
    _end_dry_run(request)
    plaintext = os.urandom(size)
    ciphertext = keys.encrypt(key, plaintext, context)
    return {
        "CiphertextBlob": ciphertext,
        "Plaintext": plaintext,
        "KeyId": records.key_arn(key),
        "KeyMaterialId": _material_of(key, ciphertext),
    }


def generate_data_key_without_plaintext(keys: KeyStore, call: Call, request: Request) -> Result:
    if request.get("KeySpec") is None and request.get("NumberOfBytes") is None:
        request = {**request, "KeySpec": "AES_256"}
    result = generate_data_key(keys, call, request)
    del result["Plaintext"]
    return result


def generate_random(keys: KeyStore, call: Call, request: Request) -> Result:
    refuse(request, CustomKeyStoreId="there are no custom key stores here.", Recipient=_NO_ENCLAVE)
    if request.get("NumberOfBytes") is None:
        raise ValidationFailed("NumberOfBytes is required: 1 to 1024.")
    return {"Plaintext": os.urandom(request["NumberOfBytes"])}


def _usable(keys: KeyStore, call: Call, name: str) -> Resource:
    key = key_named(keys, call, name, by_alias=True)
    _check_direct(key)
    check_usable(key)
    return key


def _ciphertext(request: Request) -> bytes:
    """The newest models do not require it: a dry run may do without, elsewhere."""
    ciphertext: bytes | None = request.get("CiphertextBlob")
    if ciphertext is None:
        raise ValidationFailed(
            "1 validation error detected: Value null at 'ciphertextBlob' failed to satisfy constraint: "
            "Member must not be null"
        )
    return ciphertext


def _source(keys: KeyStore, call: Call, ciphertext: bytes, name: str | None) -> Resource:
    """The key that a ciphertext names, and that the request has to name too if it names one."""
    named = None if name is None else _usable(keys, call, name)
    found = blob.decode(ciphertext)
    if found is None:
        raise not_a_ciphertext()
    if named is not None:
        if named.name != found.key_id:
            raise IncorrectKey("The key ID in the request does not identify a CMK that can perform this operation.")
        return named
    key = call.store.get(call.scope, records.KEY, found.key_id)
    if key is None:
        raise AccessDenied(
            "The ciphertext refers to a customer master key that does not exist, does not exist in this region, "
            "or you are not allowed to access."
        )
    _check_direct(key)
    return key


def _check_direct(key: Resource) -> None:
    if records.is_managed(key):
        raise AccessDenied(
            f"{records.key_arn(key)} is managed by AWS: it is used through its service alone. Make a key by CreateKey."
        )


def _context(request: Request, member: str) -> Mapping[str, str]:
    """Raises ValidationFailed."""
    context: Mapping[str, str] = request.get(member) or {}
    size = sum(len(name) + len(value) for name, value in context.items())
    if size > LARGEST_CONTEXT_CHARS:
        raise ValidationFailed(f"{member} has {size} characters; at most {LARGEST_CONTEXT_CHARS} are taken.")
    return context


def _check_options(request: Request, *algorithms: str) -> None:
    """Raises InvalidKeyUsage, InvalidGrantToken, Unsupported."""
    for member in algorithms:
        if request.get(member, records.ALGORITHM) != records.ALGORITHM:
            raise InvalidKeyUsage(
                f"{member} is {request[member]}; the key is symmetric, and takes {records.ALGORITHM} only."
            )
    if request.get("GrantTokens"):
        raise InvalidGrantToken("A grant token is given, but there are no grants here: allow it by a policy.")
    refuse(request, Recipient=_NO_ENCLAVE, DryRunModifiers="a dry run opens the ciphertext here.")


def _end_dry_run(request: Request) -> None:
    if request.get("DryRun"):
        raise DryRun("The request would have succeeded, but the DryRun option is set.")


def _material_of(key: Resource, ciphertext: bytes) -> str:
    found = blob.decode(ciphertext)
    assert found is not None, "it was opened or made a moment ago"
    return records.material_id(key, found.version)


OPERATIONS: dict[str, Handler] = {
    "kms.Encrypt": encrypt,
    "kms.Decrypt": decrypt,
    "kms.ReEncrypt": re_encrypt,
    "kms.GenerateDataKey": generate_data_key,
    "kms.GenerateDataKeyWithoutPlaintext": generate_data_key_without_plaintext,
    "kms.GenerateRandom": generate_random,
}
