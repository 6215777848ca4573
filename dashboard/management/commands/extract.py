"""Start a run from a shell, and watch it if asked to."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from typing import Any

import orjson
from django.conf import settings
from django.core.management.base import CommandError, CommandParser
from redis.exceptions import RedisError

from dashboard import audit, runs
from dashboard.connections import ConnectionGone
from dashboard.live import picture as pictures
from dashboard.live.picture import Picture
from dashboard.management.temporal_command import TemporalCommand
from dashboard.models import Connection, Run
from extraction.catalog import KINDS
from extraction.errors import InvalidSelection
from extraction.selection import Selection
from workers.progress import StreamRestarted, follow, open_redis, read_cut

# The stream wakes the bar; without Redis it is drawn this often all the same.
POLL_SECONDS = 1.0
DRAW_SECONDS = 0.15
BAR_WIDTH = 32
CODES = {Run.Status.SUCCEEDED: 0, Run.Status.PARTIAL: 3}


class Command(TemporalCommand):
    help = "Start a run of the named connection. Exit code: 0 succeeded, 3 partial, 1 otherwise."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", help="the connection, by name")
        parser.add_argument("--include", action="append", default=[], metavar="PATTERN")
        parser.add_argument("--exclude", action="append", default=[], metavar="PATTERN")
        parser.add_argument("--follow", action="store_true", help="watch the run to its end")
        parser.add_argument("--json", action="store_true", help="print the run as JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        run = _start(options["name"], Selection(options["include"], options["exclude"]))
        if not options["json"]:
            self._say(f"Run {run.pk} of {run.connection_name}")
            if run.waiting_reason:
                self._say(f"Waiting: {run.waiting_reason}. It starts by itself later.")
        if options["follow"]:
            self._follow(run, quiet=options["json"])
        if options["json"]:
            self.stdout.write(orjson.dumps(runs.run_dict(run)).decode())
        elif not run.is_open:
            self._tell_end(run)
        if options["follow"]:
            raise SystemExit(CODES.get(Run.Status(run.status), 1))

    def _say(self, text: str) -> None:
        self.stdout.write(printable(text))
        self.stdout.flush()

    def _follow(self, run: Run, *, quiet: bool) -> None:
        woken = Watch(settings.ENV.redis_url.get_secret_value(), str(run.pk))
        woken.start()
        bar = Bar(self, quiet=quiet)
        try:
            while True:
                run.refresh_from_db()
                bar.draw(run, pictures.of(run, events=False))
                if not run.is_open:
                    break
                woken.wait()
        except KeyboardInterrupt:
            bar.leave()
            self.stderr.write(f"No longer following. The run goes on: {run.pk}")
            raise SystemExit(130) from None
        bar.leave()

    def _tell_end(self, run: Run) -> None:
        known = [(run.counts.get(kind, 0), kind) for kind in KINDS]
        counts = ", ".join(f"{count} {kind}" for count, kind in known if count)
        self._say(f"{run.status}: {counts}" if counts else f"{run.status}")
        if run.error:
            self._say(f"{run.error['message']} {run.error.get('fix', '')}".strip())


def _start(name: str, selection: Selection) -> Run:
    connection = Connection.objects.filter(name__iexact=name).first()
    if connection is None:
        names = ", ".join(Connection.objects.values_list("name", flat=True)[:20])
        known = f"There are: {names}." if names else "There is none yet."
        raise CommandError(f"No connection is named {name!r}. {known}")
    try:
        return runs.start(connection, selection, audit.shell())
    except (runs.RunConflict, ConnectionGone) as refused:
        raise CommandError(str(refused)) from None
    except InvalidSelection as error:
        raise CommandError(error.message) from None


class Watch(threading.Thread):
    """Wakes its owner when the stream has something about the run."""

    def __init__(self, url: str, run_id: str) -> None:
        super().__init__(daemon=True)
        self._url, self._run_id = url, run_id
        self._news = threading.Event()

    def wait(self) -> None:
        time.sleep(DRAW_SECONDS)
        self._news.wait(POLL_SECONDS)
        self._news.clear()

    def run(self) -> None:
        asyncio.run(self._run())

    async def _run(self) -> None:
        while True:
            try:
                async with open_redis(self._url) as redis:
                    after = (await read_cut(redis, self._run_id)).seq
                    async for _, frame in follow(redis, after):
                        if frame.run_id == self._run_id:
                            self._news.set()
            except StreamRestarted:
                self._news.set()
            except (RedisError, OSError, TimeoutError):
                await asyncio.sleep(POLL_SECONDS)


class Bar:
    """One line, drawn again and again on a terminal; elsewhere a line when it moved."""

    def __init__(self, command: Command, *, quiet: bool) -> None:
        # With --json the standard output is for the JSON alone.
        self._out = command.stderr if quiet else command.stdout
        self._live = bool(self._out.isatty()) and sys.platform != "win32"
        self._last = ""
        self._drawn_at = 0.0

    def draw(self, run: Run, picture: Picture) -> None:
        line = printable(line_of(run, picture))
        if line == self._last:
            return
        if self._live:
            self._out.write(f"\r\x1b[2K{line}", ending="")
        elif time.monotonic() - self._drawn_at >= POLL_SECONDS or not run.is_open:
            self._out.write(line)
            self._drawn_at = time.monotonic()
        else:
            return
        self._out.flush()  # a pipe is read as it is written, too
        self._last = line

    def leave(self) -> None:
        if self._live and self._last:
            self._out.write("")


def line_of(run: Run, picture: Picture) -> str:
    """`demo  ████░░░  41 %  984/2400 relations  310/s  5 s left  working: …`"""
    seen = picture.progress
    total, done = seen["total"], seen["done"]
    share = done / total if total else 0.0
    filled = int(share * BAR_WIDTH)
    reading = min(BAR_WIDTH - filled, int(seen["in_flight"] / total * BAR_WIDTH) if total else 0)
    bar = "█" * filled + "▒" * reading + "░" * (BAR_WIDTH - filled - reading)
    parts = [run.connection_name, bar, f"{int(share * 100)} %", f"{done}/{total} relations"]
    if seen["rate"]:
        parts.append(f"{seen['rate']:.0f}/s")
    if seen["eta_seconds"] is not None:
        parts.append(f"{seen['eta_seconds']} s left")
    return "  ".join([*parts, str(picture.verdict)])


def printable(text: str) -> str:
    """Names come from databases, and a terminal obeys what it is sent."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
