"""Credentials in Vault (or OpenBao): written, read, destroyed. The only home of hvac.

One `Vault` serves a whole process, from any thread. It signs in by AppRole when
first needed, again at two thirds of the token's life, and once more when Vault
no longer knows the token. An expired token and a refusing policy are the same
403 to Vault; looking the token up tells them apart.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Literal, TypeVar
from urllib.parse import urlsplit

import hvac
import hvac.exceptions
import requests

from extraction.connection import Credentials, Target
from extraction.errors import CredentialConflict, CredentialRefused, VaultUnavailable

T = TypeVar("T")
HealthStatus = Literal["ok", "sealed", "standby", "down"]

TIMEOUT = 3.0
_HEALTH: dict[int, tuple[HealthStatus, str]] = {
    200: ("ok", ""),
    429: ("standby", "Vault is a standby node, or has just started."),
    472: ("standby", "Vault is a standby node."),
    473: ("standby", "Vault is a standby node."),
    501: ("down", "Vault is not initialised."),
    503: ("sealed", "Vault is sealed."),
}


def secret_for(target: Target, username: str, password: str) -> dict[str, str]:
    """What is stored: the credential, bound to the one target it may be sent to."""
    return {"username": username, "password": password, "binding": target.digest()}


def credentials_from(secret: dict[str, Any], target: Target) -> Credentials:
    """Raises CredentialRefused when the secret was stored for another target."""
    if secret.get("binding") != target.digest():
        raise CredentialRefused
    return Credentials(str(secret["username"]), str(secret["password"]))


class _Gone(CredentialRefused):
    """There is nothing at this path, or not in this version."""


class Vault:
    def __init__(self, addr: str, role_id: str, secret_id_file: Path | None, mount: str) -> None:
        self._addr = addr
        self._role_id = role_id
        self._secret_id_file = secret_id_file
        self._mount = mount
        self._lock = threading.Lock()
        self._client: hvac.Client | None = None
        self._renew_at = 0.0

    def write(self, path: str, secret: dict[str, str], cas: int) -> int:
        """Store a new version and return its number; `cas` is the version it replaces, 0 for none.

        Raises CredentialConflict when another version is there, VaultUnavailable.
        """
        answer = self._call(
            lambda client: client.secrets.kv.v2.create_or_update_secret(
                path, secret, cas=cas, mount_point=self._mount
            )
        )
        return int(answer["data"]["version"])

    def read(self, path: str, version: int) -> dict[str, Any]:
        """Raises CredentialRefused when that version is gone, VaultUnavailable."""
        answer = self._call(
            lambda client: client.secrets.kv.v2.read_secret_version(
                path, version=version, mount_point=self._mount, raise_on_deleted_version=True
            )
        )
        secret: dict[str, Any] = answer["data"]["data"]
        return secret

    def newest(self, path: str) -> tuple[int, dict[str, Any]]:
        """The newest version and its number. Raises as `read` does."""
        answer = self._call(
            lambda client: client.secrets.kv.v2.read_secret_version(
                path, mount_point=self._mount, raise_on_deleted_version=True
            )
        )
        return int(answer["data"]["metadata"]["version"]), answer["data"]["data"]

    def destroy(self, path: str, versions: list[int] | None = None) -> None:
        """Destroy these versions for good, or everything at the path. Gone already is fine."""
        kv = "delete_metadata_and_all_versions" if versions is None else "destroy_secret_versions"
        extra = {} if versions is None else {"versions": versions}
        self._call(
            lambda client: getattr(client.secrets.kv.v2, kv)(path, mount_point=self._mount, **extra)
        )

    def versions(self, path: str) -> list[int]:
        """The versions at the path that are not destroyed; empty when there is nothing."""
        found: dict[str, Any] = self._metadata(path).get("versions", {})
        return sorted(int(number) for number, about in found.items() if not about["destroyed"])

    def latest_version(self, path: str) -> int:
        """The number of the newest version, destroyed or not; 0 when there is nothing."""
        return int(self._metadata(path).get("current_version", 0))

    def _metadata(self, path: str) -> dict[str, Any]:
        try:
            answer = self._call(
                lambda client: client.secrets.kv.v2.read_secret_metadata(
                    path, mount_point=self._mount
                )
            )
        except _Gone:
            return {}
        found: dict[str, Any] = answer["data"]
        return found

    def health(self) -> tuple[HealthStatus, str]:
        """Whether Vault can serve, and why not. Never raises, needs no token."""
        try:
            answer = self._new_client().adapter.get("/v1/sys/health", raise_exception=False)
        except (requests.RequestException, hvac.exceptions.VaultError):
            return "down", "Vault cannot be reached."
        code = answer.status_code if isinstance(answer, requests.Response) else 200
        return _HEALTH.get(code, ("down", f"Vault answers {code}."))

    def _call(self, ask: Callable[[hvac.Client], T]) -> T:
        try:
            return self._with_token(ask)
        except hvac.exceptions.InvalidPath as error:
            raise _not_found(str(error), self._mount) from None
        except hvac.exceptions.InvalidRequest as error:
            raise _bad_request(str(error)) from None
        except (requests.RequestException, hvac.exceptions.VaultError) as error:
            raise VaultUnavailable(_reason(error)) from None

    def _with_token(self, ask: Callable[[hvac.Client], T]) -> T:
        client = self._signed_in()
        try:
            return ask(client)
        except hvac.exceptions.Forbidden:
            if _knows_its_token(client):
                raise CredentialRefused(
                    "Vault's policy does not allow this to the role of this process.",
                    "Compare the policies in Vault with docs/operations.md.",
                ) from None
        self._forget(client)
        return ask(self._signed_in())

    def _signed_in(self) -> hvac.Client:
        with self._lock:
            if self._client is None or time.monotonic() >= self._renew_at:
                self._client = None
                self._client = self._sign_in()
            return self._client

    def _forget(self, client: hvac.Client) -> None:
        with self._lock:
            if self._client is client:
                self._client = None

    def _sign_in(self) -> hvac.Client:
        client = self._new_client()
        try:
            answer = client.auth.approle.login(self._role_id, self._secret_id())
        except (hvac.exceptions.InvalidRequest, hvac.exceptions.Forbidden):
            # Not the run's fault, and mended without touching the run: so it waits.
            raise VaultUnavailable(
                "Vault refuses the AppRole of this process.",
                "Check VAULT_ROLE_ID and the file that VAULT_SECRET_ID_FILE names.",
            ) from None
        self._renew_at = time.monotonic() + answer["auth"]["lease_duration"] * 2 / 3
        return client

    def _secret_id(self) -> str:
        """Read at every sign-in, so that a rotated file needs no restart."""
        try:
            return self._secret_id_file.read_text().strip() if self._secret_id_file else ""
        except OSError:
            raise VaultUnavailable(
                "The secret id of this process cannot be read.",
                "Check the file that VAULT_SECRET_ID_FILE names.",
            ) from None

    def _new_client(self) -> hvac.Client:
        session = requests.Session()
        session.trust_env = not _is_loopback(self._addr)  # no proxy to loopback
        # An empty token: hvac would pick up ~/.vault-token otherwise.
        return hvac.Client(url=self._addr, token="", timeout=TIMEOUT, session=session)


def _not_found(text: str, mount: str) -> CredentialRefused | VaultUnavailable:
    if "no handler for route" in text:
        return VaultUnavailable(f"Vault has no secrets engine at {mount}/.")
    return _Gone("The stored secret is gone.")


def _bad_request(text: str) -> Exception:
    if "check-and-set" in text:
        return CredentialConflict()
    if "brief period" in text:  # a new kv-v2 mount answers so for a moment
        return VaultUnavailable("Vault is preparing the secrets engine.")
    return CredentialRefused("Vault does not accept this secret or its path.")


def _reason(error: Exception) -> str:
    if isinstance(error, hvac.exceptions.VaultDown):
        return "Vault is sealed."
    if isinstance(error, requests.Timeout):
        return f"Vault does not answer within {TIMEOUT:.0f} s."
    if isinstance(error, requests.RequestException):
        return "Vault cannot be reached."
    return f"Vault failed to answer ({type(error).__name__})."


def _knows_its_token(client: hvac.Client) -> bool:
    try:
        client.auth.token.lookup_self()
    except hvac.exceptions.Forbidden:
        return False
    return True


def _is_loopback(addr: str) -> bool:
    host = urlsplit(addr).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
