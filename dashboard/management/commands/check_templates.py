"""Compile every template, so that a typing error shows before anybody opens the page."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.template import TemplateDoesNotExist, TemplateSyntaxError
from django.template.loader import get_template


class Command(BaseCommand):
    help = __doc__

    def handle(self, *args: Any, **options: Any) -> None:
        root = settings.BASE_DIR / "templates"
        names = sorted(str(p.relative_to(root)) for p in root.rglob("*") if p.is_file())
        wrong = []
        for name in names:
            try:
                get_template(name)
            except (TemplateSyntaxError, TemplateDoesNotExist) as error:
                wrong.append(f"{name}: {error}")
        if wrong:
            raise CommandError("\n".join(wrong))
        self.stdout.write(f"{len(names)} templates compile")
