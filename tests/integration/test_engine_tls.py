"""TLS in front of a real PostgreSQL, verified as on a machine that exports nothing for OpenSSL."""

from __future__ import annotations

import ipaddress
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from extraction import certificates
from extraction.check import CheckReport, check
from extraction.connection import Credentials, Options, Target, open_session
from extraction.errors import TLSFailed
from tests.extraction.engine import LOCAL
from tests.integration.test_engine_session import LABEL

pytestmark = pytest.mark.integration


@dataclass(frozen=True)
class Authority:
    """Someone who signs certificates; `roots` is the file of who trusts it."""

    roots: Path
    name: x509.Name
    key: ec.EllipticCurvePrivateKey

    @classmethod
    def make(cls, directory: Path, name: str) -> Authority:
        made = cls(directory / f"{name}.pem", _named(name), ec.generate_private_key(ec.SECP256R1()))
        signed = (
            made._signing(made.name, made.key)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(sign_certificates=True), critical=True)
        )
        made.roots.write_bytes(_pem(signed.sign(made.key, hashes.SHA256())))
        return made

    def server(self, *names: x509.GeneralName) -> ssl.SSLContext:
        """A server with a certificate for these names."""
        key = ec.generate_private_key(ec.SECP256R1())
        signed = (
            self._signing(_named("a source"), key)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        )
        file = self.roots.with_suffix(".server")
        unlocked = serialization.NoEncryption()
        pkcs8 = serialization.PrivateFormat.PKCS8
        file.write_bytes(
            key.private_bytes(serialization.Encoding.PEM, pkcs8, unlocked)
            + _pem(signed.sign(self.key, hashes.SHA256()))
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        return context

    def _signing(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey
    ) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        of = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())
        return (
            x509.CertificateBuilder(self.name, subject, key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(hours=1))
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False)
            .add_extension(of, critical=False)
        )


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _usage(sign_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(*[False] * 5, sign_certificates, *[False] * 3)


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


@contextmanager
def behind_tls(postgres: Any, context: ssl.SSLContext) -> Iterator[int]:
    """A port that asks for TLS as PostgreSQL does, and passes on to the server what is said."""
    listener = socket.create_server(("127.0.0.1", 0))

    def pump(source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        with suppress(OSError):
            sink.shutdown(socket.SHUT_RDWR)

    def serve(client: socket.socket) -> None:
        with client, suppress(OSError):
            client.recv(8, socket.MSG_WAITALL)
            client.sendall(b"S")
            with (
                context.wrap_socket(client, server_side=True) as secure,
                socket.create_connection((postgres.host, postgres.port)) as server,
            ):
                back = threading.Thread(target=pump, args=(server, secure), daemon=True)
                back.start()
                pump(secure, server)
                back.join()

    def accept() -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                threading.Thread(target=serve, args=(client,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.close()


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority.make(tmp_path, "authority")


@pytest.fixture
def source(postgres: Any, authority: Authority) -> Iterator[Target]:
    """Named `localhost` in its certificate, and nothing else."""
    with behind_tls(postgres, authority.server(x509.DNSName("localhost"))) as port:
        yield Target("postgresql", "localhost", port, "postgres", postgres.user, "verify-full")


@pytest.fixture
def trusting(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A machine that keeps its roots in this file, and says so to nobody."""

    def trust(roots: Path) -> None:
        for name in ("SSL_CERT_FILE", "SSL_CERT_DIR"):
            monkeypatch.delenv(name, raising=False)
        defaults = ssl.get_default_verify_paths()._replace(
            openssl_cafile=str(roots.parent / "absent"), openssl_capath=str(roots.parent)
        )
        monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: defaults)
        monkeypatch.setattr(certificates, "_BUNDLES", (str(roots),))

    return trust


def tried(postgres: Any, target: Target) -> CheckReport:
    credentials = Credentials(target.username, postgres.password)
    return check(target, lambda: credentials, Options(), LOCAL)


def refused(postgres: Any, target: Target) -> None:
    with pytest.raises(TLSFailed, match="certificate"):
        open_session(target, Credentials(target.username, "-"), Options(), LOCAL, LABEL)
    last = tried(postgres, target).steps[-1]
    assert (last.name, last.ok) == ("tls", False)
    assert "SSL_CERT_FILE" in last.fix


def test_a_verified_login_needs_nothing_in_the_environment(
    postgres: Any, source: Target, authority: Authority, trusting: Any
) -> None:
    trusting(authority.roots)
    credentials = Credentials(source.username, postgres.password)
    with open_session(source, credentials, Options(), LOCAL, LABEL) as session:
        assert session.fetch("select 1") == [(1,)]
    report = tried(postgres, source)
    assert report.ok
    assert next(step.detail for step in report.steps if step.name == "tls").endswith(", verified.")


def test_roots_that_the_environment_names_come_first(
    postgres: Any,
    source: Target,
    authority: Authority,
    trusting: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    other = Authority.make(tmp_path, "other")
    trusting(other.roots)
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.roots))
    assert tried(postgres, source).ok
    trusting(authority.roots)
    monkeypatch.setenv("SSL_CERT_FILE", str(other.roots))
    refused(postgres, source)


def test_a_certificate_of_an_unknown_authority_is_refused(
    postgres: Any, source: Target, trusting: Any, tmp_path: Path
) -> None:
    trusting(Authority.make(tmp_path, "other").roots)
    refused(postgres, source)


def test_a_certificate_for_another_name_is_refused(
    postgres: Any, source: Target, authority: Authority, trusting: Any
) -> None:
    trusting(authority.roots)
    refused(postgres, replace(source, host="127.0.0.1"))


def test_an_address_can_be_verified_too(postgres: Any, authority: Authority, trusting: Any) -> None:
    trusting(authority.roots)
    loopback = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    with behind_tls(postgres, authority.server(loopback)) as port:
        target = Target("postgresql", "127.0.0.1", port, "postgres", postgres.user, "verify-full")
        assert tried(postgres, target).ok


def test_without_verification_an_unknown_authority_will_do(
    postgres: Any, source: Target, trusting: Any, tmp_path: Path
) -> None:
    trusting(Authority.make(tmp_path, "other").roots)
    assert tried(postgres, replace(source, tls="require")).ok


def test_this_machine_has_roots(trusting: Any, tmp_path: Path) -> None:
    trusting(tmp_path / "absent too")
    assert "BEGIN CERTIFICATE" in Path(certificates.roots()).read_text()
