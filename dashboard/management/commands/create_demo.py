"""Save the connection `demo` and start its first run: the last step of a first start."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.management.base import CommandError, CommandParser

from dashboard import audit, connections, runs
from dashboard.forms import ConnectionForm
from dashboard.local.demo import CONNECTION, connection_fields
from dashboard.management.temporal_command import TemporalCommand
from dashboard.models import Connection
from extraction.selection import Selection

ACTOR = audit.shell("make run")


class Command(TemporalCommand):
    help = __doc__

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--port", type=int, required=True, help="where the source listens")
        parser.add_argument("--first", action="store_true", help="create it, and run it")

    def handle(self, *args: Any, port: int, first: bool, **options: Any) -> None:
        connection = Connection.objects.filter(name=CONNECTION).first()
        if connection is not None and connection.port != port:
            connections.edit(connection, _form(port, connection), ACTOR)
        elif connection is None and first:
            connection = connections.create(_form(port, None), ACTOR)
        if connection and first and not connection.runs.exists():
            runs.start(connection, Selection(), ACTOR)


def _form(port: int, connection: Connection | None) -> ConnectionForm:
    fields = connection_fields(settings.ENV.data_dir / "postgres", port)
    form = ConnectionForm(fields, instance=connection)
    if not form.is_valid():
        raise CommandError(form.errors.as_json())
    return form
