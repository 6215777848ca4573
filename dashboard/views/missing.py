"""What a partial run could not read, from the ledger in its manifest."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

from django.conf import settings

from dashboard.models import Run
from extraction.errors import SurveyorError
from extraction.snapshot.reader import open_snapshot
from extraction.storage import open_storage

SHOWN = 12
FIXES = {
    "denied": "The source hides these from the role of the connection; its owner can grant them.",
    "errored": "The source failed while it was asked for these; everything else is complete.",
}


@dataclass(frozen=True)
class Missing:
    """One kind that is denied or errored in some schemas."""

    status: str
    kind: str
    schemas: list[str]

    @property
    def tone(self) -> str:
        return "warn" if self.status == "denied" else "bad"

    @property
    def icon(self) -> str:
        return "partial" if self.status == "denied" else "failed"

    @property
    def fix(self) -> str:
        return FIXES[self.status]

    @property
    def shown(self) -> list[str]:
        return self.schemas[:SHOWN]

    @property
    def more(self) -> int:
        return len(self.schemas) - len(self.shown)


def missing_scopes(run: Run) -> list[Missing]:
    """Denied first; empty when the snapshot cannot be read."""
    try:
        snapshot = open_snapshot(open_storage(settings.ENV.storage), str(run.id), run.manifest)
    except SurveyorError:
        return []
    found: dict[tuple[str, str], list[str]] = defaultdict(list)
    for scope in snapshot.manifest["scopes"]:
        if scope["status"] in FIXES:
            found[scope["status"], scope["kind"]].append(scope["schema"])
    return [Missing(status, kind, schemas) for (status, kind), schemas in sorted(found.items())]
