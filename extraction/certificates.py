"""Whom to believe when a source shows its certificate: the roots this machine trusts."""

from __future__ import annotations

import os
import ssl
from pathlib import Path

import certifi

# OpenSSL's own defaults, which SSL_CERT_FILE and SSL_CERT_DIR replace.
SYSTEM = "system"
_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)


def roots() -> str:
    """A file of root certificates, or `system` where the environment names some.

    The driver carries an OpenSSL of its own, built for a directory that no machine
    has, so its defaults are empty.
    """
    defaults = ssl.get_default_verify_paths()
    if any(
        os.environ.get(name) for name in (defaults.openssl_cafile_env, defaults.openssl_capath_env)
    ):
        return SYSTEM
    files = (defaults.openssl_cafile, f"{defaults.openssl_capath}/ca-certificates.crt", *_BUNDLES)
    return next((file for file in files if Path(file).is_file()), certifi.where())


def trusting_roots() -> ssl.SSLContext:
    """A context for handshakes of ours, which believes the same roots."""
    file = roots()
    return ssl.create_default_context(cafile=None if file == SYSTEM else file)
