"""The demo of a first start: a warehouse, a role that may only connect, a connection, a run."""

from __future__ import annotations

import time
from pathlib import Path

from dashboard.local import warehouse
from dashboard.local.instance import Instance
from dashboard.local.servers import HOST, kept_secret

DATABASE = "warehouse"
READER = "surveyor_reader"
CONNECTION = "demo"
# Rest between two batches, so that the first run lasts long enough to be watched.
PACE = 3.0


class Demo:
    def __init__(self, instance: Instance, relations: int) -> None:
        self._source = instance.source
        self._relations = relations
        self._marker = instance.directory / "demo-port"

    @property
    def is_first_start(self) -> bool:
        """Once made it is the user's: what they delete does not come back."""
        return not self._marker.exists()

    @property
    def has_moved(self) -> bool:
        """The source listens elsewhere now, because its port was taken."""
        return self._marker.exists() and self._marker.read_text() != str(self._source.port)

    @property
    def command(self) -> list[str]:
        """What saves the connection; its password stays in a file."""
        arguments = ["--port", str(self._source.port)]
        return ["create_demo", *arguments, *(["--first"] if self.is_first_start else [])]

    def set_done(self) -> None:
        self._marker.write_text(str(self._source.port))

    def build_source(self) -> None:
        """Waits for the source to answer, so that it may be begun beside its start."""
        if not self.is_first_start:
            return
        source = self._source
        while not source.ready():
            time.sleep(0.1)
        server = warehouse.Server(
            host=source.host, port=source.port, user=source.user, password=source.password
        )
        warehouse.build(server, DATABASE, relations=self._relations)
        password = reader_password(source.directory)
        warehouse.create_reader_role(server, DATABASE, READER, password)

    def settle(self) -> None:
        """Write the new source to disk now, so that a stop soon after has little left to do."""
        self._source.execute("postgres", "CHECKPOINT")


def reader_password(directory: Path) -> str:
    return kept_secret(directory / "reader-password")


def connection_fields(directory: Path, port: int) -> dict[str, object]:
    """The form's fields for the demo connection; `directory` is the source's."""
    return {
        "name": CONNECTION,
        "dialect": "postgresql",
        "host": HOST,
        "port": port,
        "database": DATABASE,
        "username": READER,
        "password": reader_password(directory),
        "tls": "disable",
        "sessions": 3,
        "pace": PACE,
        "environment": "demo",
    }
