"""What a local instance keeps in its DATA_DIR, and how its processes find each other.

`instance.env` (0600) says where the servers are. Whatever runs with the same
DATA_DIR reads it for what its own environment lacks; `worker.env` lies over it
with the worker's role, because a worker must not sign in to Vault as a dashboard.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import IO

from dashboard.local.openbao import OpenBaoServer, Role
from dashboard.local.process import StartFailed
from dashboard.local.servers import (
    HOST,
    PostgresServer,
    Server,
    TemporalServer,
    ValkeyServer,
    is_free,
    kept_secret,
    private_directory,
    write_private,
)


class Instance:
    """The servers of one DATA_DIR. A server that the environment names is not started."""

    def __init__(self, directory: Path, port: int) -> None:
        given = os.environ.get
        if given("VAULT_ADDR") and not given("VAULT_ROLE_ID"):
            raise StartFailed("VAULT_ADDR names a Vault; VAULT_ROLE_ID is missing beside it.")
        if not (directory / "lock").exists():
            # Where nothing ran yet a refusal leaves nothing behind; elsewhere the lock knows better.
            _refuse_unless_free(port)
        self.directory = private_directory(directory)
        self.directory.chmod(0o700)
        self.port = port
        self._lock = _lock(directory, port)
        _refuse_unless_free(port)
        self.temporal = (
            None if given("TEMPORAL_ADDRESS") else TemporalServer(directory / "temporal")
        )
        self.openbao = None if given("VAULT_ADDR") else OpenBaoServer(directory / "openbao")
        self.valkey = None if given("REDIS_URL") else ValkeyServer(directory / "valkey")
        self.source = PostgresServer(directory / "postgres")

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    @property
    def servers(self) -> list[Server]:
        """In the order of start."""
        found = (self.temporal, self.openbao, self.valkey, self.source)
        return [server for server in found if server is not None]

    def write_environment(self, roles: Mapping[str, Role], own_ports: Collection[int]) -> None:
        """`instance.env` and `worker.env`, for every process of this instance.

        `own_ports` are those the servers chose themselves.
        """
        values = {
            "PORT": str(self.port),
            "SECRET_KEY": kept_secret(self.directory / "secret.key", 50),
            "STORAGE_URL": f"file://{self.directory / 'storage'}",
            "ALLOW_LOOPBACK_SOURCES": "true",
            "DENIED_ENDPOINTS": ",".join(self._denied(own_ports)),
        }
        if self.temporal:
            values["TEMPORAL_ADDRESS"] = self.temporal.address
            values["TEMPORAL_UI_URL"] = self.temporal.ui_url
        if self.valkey:
            values["REDIS_URL"] = self.valkey.url
        if self.openbao:
            values["VAULT_ADDR"] = self.openbao.address
            values["VAULT_MOUNT"] = self.openbao.mount
            values |= _role(roles["dashboard"])
        worker = _role(roles["worker"]) if self.openbao else {}
        write_private(self.directory / "instance.env", _lines(values))
        write_private(self.directory / "worker.env", _lines(worker))

    def _denied(self, own_ports: Collection[int]) -> list[str]:
        """Our own servers are never a source, loopback being allowed here or not."""
        ports = {self.port, *own_ports}
        if self.temporal:
            ports |= {self.temporal.port, self.temporal.ui_port}
        if self.openbao:
            ports |= {self.openbao.port, self.openbao.cluster_port}
        if self.valkey:
            ports.add(self.valkey.port)
        return [f"{HOST}:{port}" for port in sorted(ports)]


def _role(role: Role) -> dict[str, str]:
    return {"VAULT_ROLE_ID": role.role_id, "VAULT_SECRET_ID_FILE": str(role.secret_id_file)}


def _lines(values: Mapping[str, str]) -> str:
    """As dotenv reads it back: single quotes keep everything but themselves as it is."""
    quoted = {k: v.replace("\\", "\\\\").replace("'", "\\'") for k, v in values.items()}
    return "".join(f"{key}='{value}'\n" for key, value in quoted.items())


def _refuse_unless_free(port: int) -> None:
    if not is_free(port):
        raise StartFailed(f"Port {port} is in use. Set PORT to a free one.")


def _lock(directory: Path, port: int) -> IO[str]:
    """Held until this process ends, however it ends."""
    file = (directory / "lock").open("a+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.seek(0)
        raise StartFailed(
            f"Surveyor is running on {directory} already ({file.read().strip()}). "
            "Stop it first, or set DATA_DIR and PORT for a second copy."
        ) from None
    file.truncate(0)
    file.write(f"process {os.getpid()}, http://{HOST}:{port}")
    file.flush()
    return file
