"""Commands that talk to Temporal share one way out."""

from __future__ import annotations

from django.core.management.base import BaseCommand

from dashboard.temporal import exit_cleanly


class TemporalCommand(BaseCommand):
    """A command whose process ends at once with its code.

    `handle` raises CommandError or SystemExit; `call_command` sees those as usual.
    """

    # They load every page and its libraries, which no run needs; `manage.py check` has them.
    requires_system_checks: list[str] = []

    def run_from_argv(self, argv: list[str]) -> None:
        code = 0
        try:
            super().run_from_argv(argv)
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
            if isinstance(end.code, str):
                self.stderr.write(end.code)
        except KeyboardInterrupt:
            code = 130
        exit_cleanly(code)
