"""The server's certificate: given files, or one of an own certificate authority made at the first use.

DIR/tls/ca.pem, ca.key             the authority; ca.pem is what AWS_CA_BUNDLE names
DIR/tls/server.pem, server.key     for the loopback addresses, localhost and what is below it, and this machine
"""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from kedge.config import Settings
from kedge.home import Home, write_whole

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.x509 import Certificate, GeneralName, KeyUsage

AUTHORITY_DAYS = 3650
SERVER_DAYS = 397
"""Apple's clients refuse certificates that are valid for longer than 398 days; the one day is for the backdating."""
RENEWED_DAYS_BEFORE = 30
_BACKDATED = timedelta(days=1)
_LOOPBACK = ("127.0.0.1", "::1")
_NAMES = ("localhost", "*.localhost")


class TlsError(Exception):
    """The certificate cannot be used; the message says which file and why."""


@dataclass(frozen=True)
class TlsFiles:
    certificate: Path
    key: Path
    authority: Path | None
    """For AWS_CA_BUNDLE; None for given files, whose authority the clients know by themselves."""


def prepare(settings: Settings, home: Home, now: datetime | None = None) -> TlsFiles | None:
    """Files that a server can listen with, made or renewed as needed; None without TLS. Raises TlsError."""
    if settings.tls_cert:
        files = TlsFiles(_absolute(settings.tls_cert), _absolute(settings.tls_key), None)
    elif settings.tls:
        files = _own(home.tls, (settings.host, settings.s3_domain), now or datetime.now(UTC))
    else:
        return None
    _try(files)
    return files


def _absolute(path: str) -> Path:
    return Path(path).expanduser().absolute()


def _try(files: TlsFiles) -> None:
    """The files are what they should be, or it is said now and not by the first client."""
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(files.certificate, files.key)
    except (OSError, ssl.SSLError) as error:
        raise TlsError(
            f"The certificate {files.certificate} with the key {files.key} cannot be used ({error}); "
            "both have to be PEM files that belong together."
        ) from error


def _own(folder: Path, own: tuple[str, str], now: datetime) -> TlsFiles:
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    files = TlsFiles(folder / "server.pem", folder / "server.key", folder / "ca.pem")
    authority, authority_key = folder / "ca.pem", folder / "ca.key"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        renewed = now + timedelta(days=RENEWED_DAYS_BEFORE)
        certificate = _read(authority)
        if certificate is None or certificate.not_valid_after_utc < renewed or not authority_key.exists():
            certificate = _make_authority(authority, authority_key, now)
            files.certificate.unlink(missing_ok=True)
        current = _read(files.certificate)
        names = _names(*own)
        if current is not None and current.not_valid_after_utc >= renewed and files.key.exists():
            named = current.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            if current.issuer == certificate.subject and set(names) <= set(named):
                return files
        key = load_pem_private_key(authority_key.read_bytes(), None)
        _make_server(files, names, certificate, key, now)  # type: ignore[arg-type]
    except (OSError, ValueError, TypeError, x509.ExtensionNotFound) as error:
        raise TlsError(
            f"The own certificate authority in {folder} cannot be used ({error}); remove that folder to have a new one."
        ) from error
    return files


def _read(path: Path) -> Certificate | None:
    from cryptography import x509

    return x509.load_pem_x509_certificate(path.read_bytes()) if path.exists() else None


def _names(host: str, s3_domain: str) -> list[GeneralName]:
    """Each by which a client on this machine or beside it may call the server.

    OpenSSL takes a wildcard only above two labels: with TLS, BUCKET.localhost needs path-style addressing instead.
    """
    from cryptography import x509

    name = socket.gethostname()
    texts = [*_NAMES, *_LOOPBACK, host, name, s3_domain, f"*.{s3_domain}"]
    found: list[GeneralName] = []
    for text in dict.fromkeys(texts):
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            if text.isascii() and text:
                found.append(x509.DNSName(text))
            continue
        if not address.is_unspecified:
            found.append(x509.IPAddress(address))
    return found


def _make_authority(path: Path, key_path: Path, now: datetime) -> Certificate:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    serial = x509.random_serial_number()
    # A name of its own: a client that trusts an older authority of this machine shall not take one for the other.
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"Kedge {socket.gethostname()[:30]} {serial:x}"[:64])])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(now + timedelta(days=AUTHORITY_DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    _write(key_path, key)
    write_whole(path, _pem(certificate), 0o644)
    return certificate


def _make_server(
    files: TlsFiles,
    names: list[GeneralName],
    authority: Certificate,
    authority_key: EllipticCurvePrivateKey,
    now: datetime,
) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Kedge")]))
        .issuer_name(authority.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATED)
        .not_valid_after(now + timedelta(days=SERVER_DAYS - 1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.public_key()),  # type: ignore[arg-type]
            critical=False,
        )
        .sign(authority_key, hashes.SHA256())
    )
    _write(files.key, key)
    write_whole(files.certificate, _pem(certificate), 0o644)


def _usage(*, signs_certificates: bool) -> KeyUsage:
    from cryptography.x509 import KeyUsage

    return KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(certificate: Certificate) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding

    return certificate.public_bytes(Encoding.PEM)


def _write(path: Path, key: EllipticCurvePrivateKey) -> None:
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    write_whole(path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
