"""A bearer token for a user, printed once."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError, CommandParser

from dashboard import audit, tokens


class Command(BaseCommand):
    help = "Create a bearer token and print it, once, as the last word."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("user", help="the user the token speaks for")
        parser.add_argument("--name", required=True, help="what the token is for")

    def handle(self, *args: Any, **options: Any) -> None:
        user = User.objects.filter(username=options["user"]).first()
        if user is None:
            raise CommandError(f"There is no user {options['user']}.")
        if not user.is_active:
            raise CommandError(f"{user} is not active; a token would be refused.")
        name = options["name"].strip()
        if not 1 <= len(name) <= 80 or not name.isprintable():
            raise CommandError("The name of a token has 1 to 80 visible characters.")
        token = tokens.create(user, name, audit.shell())
        self.stdout.write(f"Token {name} of {user}, shown only now: {token}")
