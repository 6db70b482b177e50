"""Certificates: made, accepted by a client, renewed, and refused when they cannot be."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from kedge.config import Settings
from kedge.home import Home, open_home
from kedge.tls import SERVER_DAYS, TlsError, TlsFiles, prepare

NOW = datetime.now(UTC)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return open_home(Settings(data_dir=tmp_path / "data"))


def made(home: Home, *, host: str = "127.0.0.1", now: datetime = NOW) -> TlsFiles:
    files = prepare(Settings(data_dir=home.path, tls=True, host=host, s3_domain="s3.localhost"), home, now)
    assert files is not None
    return files


def handshake(files: TlsFiles, name: str) -> None:
    """Raises ssl.SSLError when a client that trusts the authority does not accept the server under this name."""
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(files.certificate, files.key)
    asking = ssl.create_default_context(cafile=str(files.authority))
    asking.verify_flags |= getattr(ssl, "VERIFY_X509_STRICT", 0)
    ends = [ssl.MemoryBIO() for _ in range(2)]
    server = serving.wrap_bio(ends[0], ends[1], server_side=True)
    client = asking.wrap_bio(ends[1], ends[0], server_hostname=name)
    done: set[ssl.SSLObject] = set()
    for _ in range(10):
        for each in (client, server):
            if each not in done:
                try:
                    each.do_handshake()
                    done.add(each)
                except ssl.SSLWantReadError:
                    pass
    assert len(done) == 2


def test_without_tls_there_is_nothing(home):
    assert prepare(Settings(data_dir=home.path), home) is None
    assert not home.tls.exists()


@pytest.mark.parametrize("name", ["127.0.0.1", "::1", "localhost", "bucket.s3.localhost", "10.1.2.3"])
def test_a_client_that_trusts_the_authority_accepts_it(home, name):
    handshake(made(home, host="10.1.2.3"), name)


def test_another_name_is_not_accepted(home):
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(made(home), "example.com")


def test_it_is_made_once_and_renewed_in_time(home):
    files = made(home)
    first, authority = files.certificate.read_bytes(), (home.tls / "ca.pem").read_bytes()
    assert files.key.stat().st_mode & 0o777 == 0o600
    assert (home.tls / "ca.key").stat().st_mode & 0o777 == 0o600
    made(home, now=NOW + timedelta(days=SERVER_DAYS - 40))
    assert files.certificate.read_bytes() == first
    made(home, now=NOW + timedelta(days=SERVER_DAYS - 20))
    assert files.certificate.read_bytes() != first
    assert (home.tls / "ca.pem").read_bytes() == authority
    made(home, now=NOW + timedelta(days=3640))
    assert (home.tls / "ca.pem").read_bytes() != authority


def test_another_host_gets_another_certificate(home):
    first = made(home).certificate.read_bytes()
    files = made(home, host="10.9.9.9")
    assert files.certificate.read_bytes() != first
    handshake(files, "10.9.9.9")


def test_given_files_are_used_as_they_are(home, tmp_path):
    files = made(home)
    cert, key = tmp_path / "c.pem", tmp_path / "k.pem"
    cert.write_bytes(files.certificate.read_bytes())
    key.write_bytes(files.key.read_bytes())
    given = Settings(data_dir=home.path, tls_cert=str(cert), tls_key=str(key))
    assert prepare(given, home) == TlsFiles(cert, key, None)
    key.write_bytes((home.tls / "ca.key").read_bytes())
    with pytest.raises(TlsError, match=r"k\.pem cannot be used"):
        prepare(given, home)
    key.unlink()
    with pytest.raises(TlsError, match="No such file"):
        prepare(given, home)


def test_a_damaged_authority_is_named(home):
    made(home)
    (home.tls / "ca.pem").write_text("x")
    with pytest.raises(TlsError, match="remove that folder"):
        made(home)
