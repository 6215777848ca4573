"""Run everything on embedded servers on loopback: what `make run` calls."""

from __future__ import annotations

import os
import secrets
import signal
import sys
from typing import Any

from django.conf import settings
from django.contrib.auth.models import Group, User
from django.core.management import CommandParser, call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import connections

from dashboard import audit
from dashboard.local.console import Console
from dashboard.local.demo import Demo
from dashboard.local.instance import Instance
from dashboard.local.make import follow_make
from dashboard.local.process import StartFailed
from dashboard.local.supervisor import Background, Stopping, Supervisor


class Command(BaseCommand):
    help = __doc__
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--demo-relations",
            type=int,
            default=2400,
            help="size of the demo source, made at the first start (default 2400)",
        )

    def handle(self, *args: Any, demo_relations: int, **options: Any) -> None:
        os.umask(0o077)
        follow_make()
        password = os.environ.pop("ADMIN_PASSWORD", "")
        console = Console(json=settings.ENV.log_format == "json")
        try:
            instance = Instance(settings.ENV.data_dir, int(os.environ.get("PORT") or 8000))
        except StartFailed as error:
            raise CommandError(str(error)) from None
        supervisor = Supervisor(instance, settings.ENV.workers, console)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, supervisor.ask_to_stop)
        if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:  # ignored under nohup
            signal.signal(signal.SIGHUP, supervisor.ask_to_stop)
        try:
            run(supervisor, Demo(instance, demo_relations), password)
        except Stopping:
            pass
        except StartFailed as error:
            raise CommandError(str(error)) from None
        finally:
            console.say("Stopping …")
            supervisor.stop()


def run(supervisor: Supervisor, demo: Demo, password: str) -> None:
    console = supervisor.console
    console.say(f"Starting Surveyor on {supervisor.instance.directory} …")
    generated = ""

    def prepare_database() -> None:
        nonlocal generated
        call_command("migrate", interactive=False, verbosity=0)
        generated = create_admin(password)
        connections.close_all()

    source = Background(demo.build_source)
    try:
        supervisor.start_servers(meanwhile=prepare_database)
        supervisor.start_components()
        prepare_demo(supervisor, demo, source)
    finally:
        # At the end, where it is found; and after a failure too, for there is no other time.
        if generated:
            console.say("")
            console.say(f"Sign in as admin with the password  {generated}  (not shown again)")
    console.say(f"Surveyor is ready:  {supervisor.instance.url}/")
    supervisor.keep_running()


def prepare_demo(supervisor: Supervisor, demo: Demo, source: Background) -> None:
    if not (demo.is_first_start or demo.has_moved):
        return
    supervisor.console.say("Preparing the demo source and its connection …")
    supervisor.wait("building the demo source", source.is_done, 300)
    supervisor.run_once("demo", [sys.executable, "manage.py", *demo.command])
    demo.set_done()
    Background(demo.settle)


def create_admin(password: str) -> str:
    """The first user, `admin`. Returns the password if it had to be generated."""
    if User.objects.exists():
        return ""
    chosen = password or secrets.token_urlsafe(12)
    admin = User.objects.create_superuser("admin", password=chosen)
    admin.groups.add(Group.objects.get_or_create(name="admin")[0])
    audit.record(audit.shell("make run"), "user.create", "admin", active=True, roles=["admin"])
    return "" if password else chosen
