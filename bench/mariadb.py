"""A MariaDB of its own on loopback, for tests and benches, from the system's packages."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
from contextlib import closing
from pathlib import Path
from typing import Any

import pymysql

from dashboard.local.process import StartFailed
from dashboard.local.servers import HOST, free_port

# Debian keeps the server where no user's PATH leads.
PLACES = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin", "/sbin"))
HINT = "MariaDB is needed for this: apt-get install mariadb-server."


class MariaDBServer:
    """Holds still: nothing runs in it that nobody asked for. All is lost with its directory."""

    name = "mariadb"
    stop_signal: int = signal.SIGTERM
    user = "root"

    def __init__(self, directory: Path, *settings: str) -> None:
        self.directory, self.data = directory, directory / "data"
        self.settings = settings
        self.host, self.port = HOST, free_port()
        self.password = secrets.token_urlsafe()

    def prepare(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        command = [
            *(program("mariadb-install-db"), "--no-defaults", f"--datadir={self.data}"),
            *("--auth-root-authentication-method=normal", "--skip-test-db", *_as_root()),
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        if done.returncode:
            raise StartFailed(f"mariadb-install-db failed:\n{done.stdout}{done.stderr}")
        first = self.directory / "first.sql"
        first.touch(mode=0o600)
        first.write_text(
            f"ALTER USER root@localhost IDENTIFIED BY '{self.password}';\n"
            f"CREATE OR REPLACE USER root@'{HOST}' IDENTIFIED BY '{self.password}';\n"
            f"GRANT ALL ON *.* TO root@'{HOST}' WITH GRANT OPTION;\n"
            "DROP USER IF EXISTS ''@localhost;\n"
        )

    def command(self) -> list[str]:
        return [
            *(program("mariadbd"), "--no-defaults", f"--datadir={self.data}", *_as_root()),
            *(f"--bind-address={HOST}", f"--port={self.port}", "--skip-networking=0"),
            *(f"--socket={self.directory / 'socket'}", f"--pid-file={self.directory / 'pid'}"),
            *(f"--init-file={self.directory / 'first.sql'}", "--skip-name-resolve"),
            *("--skip-log-bin", "--innodb-flush-log-at-trx-commit=0", "--innodb-doublewrite=0"),
            *("--innodb-stats-auto-recalc=0", "--character-set-server=utf8mb4"),
            *("--log-warnings=0", "--sync-frm=0", *self.settings),
        ]

    def ready(self) -> bool:
        try:
            self.execute("", "select 1")
        except pymysql.Error:
            return False
        return True

    def execute(self, database: str, *statements: str) -> list[tuple[Any, ...]]:
        """Run them on one connection; the rows of the last."""
        with closing(
            pymysql.connect(
                host=self.host,
                port=self.port,
                user=self.user,
                password=self.password,
                database=database or None,
                autocommit=True,
                ssl_disabled=True,
                connect_timeout=5,
            )
        ) as connection:
            cursor = connection.cursor()
            for statement in statements:
                cursor.execute(statement)
            return list(cursor.fetchall()) if statements else []

    def load(self, file: Path) -> list[str]:
        """A file as the client of the server reads it; errors do not end it."""
        options = self.directory / "client.cnf"
        options.touch(mode=0o600)
        options.write_text(
            f"[client]\nhost={self.host}\nport={self.port}\nuser={self.user}\n"
            f"password={self.password}\ndefault-character-set=utf8mb4\n"
        )
        with file.open("rb") as stream:
            done = subprocess.run(
                [program("mariadb"), f"--defaults-file={options}", "--force", "--skip-ssl"],
                stdin=stream,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                errors="replace",
            )
        return [line for line in done.stderr.splitlines() if line.startswith("ERROR")]


def program(name: str) -> str:
    found = shutil.which(name, path=PLACES)
    if found is None:
        raise StartFailed(HINT)
    return found


def _as_root() -> list[str]:
    """It refuses to be root unless it is told to."""
    return ["--user=root"] if os.geteuid() == 0 else []
