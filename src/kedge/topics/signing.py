"""The key that messages are signed with, and the certificate by which a subscriber verifies them.

    DIR/topics/signing.key   RSA, mode 0600
    DIR/topics/signing.pem   its certificate, signed by itself; the API port serves it

Both are made when they are first needed: a key takes longer to make than the rest of a start.
"""

from __future__ import annotations

import base64
import hashlib
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from kedge.home import write_whole

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

KEY_BITS = 2048
VALID_DAYS = 3650
VERSIONS = ("1", "2")


class Signer:
    def __init__(self, folder: Path, seal_key: bytes) -> None:
        self._key_file, self._certificate_file = folder / "signing.key", folder / "signing.pem"
        self._lock = threading.Lock()
        self._key: RSAPrivateKey | None = None
        digest = hashlib.sha256(b"certificate of topics" + seal_key).hexdigest()[:32]
        self.path = f"/SimpleNotificationService-{digest}.pem"
        """Where the certificate is served. Known before there is one, and never the same for two servers."""

    def sign(self, text: bytes, version: str) -> str:
        """version: "1" (SHA-1) or "2" (SHA-256), as SNS has them. A millisecond; the first call makes the key."""
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import padding

        algorithm = hashes.SHA256() if version == "2" else hashes.SHA1()  # noqa: S303 (what version 1 is)
        return base64.b64encode(self._open().sign(text, padding.PKCS1v15(), algorithm)).decode()

    def certificate(self) -> bytes:
        """PEM."""
        self._open()
        return self._certificate_file.read_bytes()

    def _open(self) -> RSAPrivateKey:
        from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        with self._lock:
            if self._key is None:
                if not (self._key_file.exists() and self._certificate_file.exists()):
                    self._make()
                key = load_pem_private_key(self._key_file.read_bytes(), None)
                assert isinstance(key, RSAPrivateKey), f"{self._key_file} holds no RSA key"
                self._key = key
            return self._key

    def _make(self) -> None:
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import rsa
        from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
        from cryptography.x509.oid import NameOID

        key = rsa.generate_private_key(public_exponent=65537, key_size=KEY_BITS)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Kedge topics")])
        now = datetime.now(UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=VALID_DAYS))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .sign(key, hashes.SHA256())
        )
        self._key_file.parent.mkdir(mode=0o700, exist_ok=True)
        write_whole(self._key_file, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        write_whole(self._certificate_file, certificate.public_bytes(Encoding.PEM), 0o644)
