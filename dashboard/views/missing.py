"""What a finished run could not read, or did not have to, from its manifest."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from django.conf import settings

from dashboard.models import Run
from dashboard.templatetags.surveyor import reveal
from extraction.connection import BY_HAND
from extraction.errors import SurveyorError
from extraction.snapshot.reader import open_snapshot
from extraction.storage import open_storage

SHOWN = 12


@dataclass(frozen=True)
class Names:
    """The first of some names of the source, in one line, and how many more there are."""

    count: int
    shown: str
    more: int


@dataclass(frozen=True)
class Denied:
    """One kind that the source refuses or hides. `statements` mend it, where a statement
    can; `advice` is what else its owner can do."""

    kind: str
    schemas: Names
    reasons: list[str]
    statements: str
    advice: list[str]

    @property
    def anchor(self) -> str:
        return f"grants-{self.kind}"


@dataclass(frozen=True)
class Broken:
    name: str
    reason: str


@dataclass(frozen=True)
class Errored:
    """What the source failed on, of one kind."""

    kind: str
    objects: list[Broken]
    schemas: Names

    @property
    def shown(self) -> list[Broken]:
        return self.objects[:SHOWN]

    @property
    def more(self) -> int:
        return len(self.objects) - len(self.shown)


@dataclass(frozen=True)
class Note:
    text: str
    names: Names


@dataclass(frozen=True)
class Missing:
    denied: list[Denied] = field(default_factory=list)
    errored: list[Errored] = field(default_factory=list)
    vanished: Names | None = None
    unmatched: Names | None = None
    notes: list[Note] = field(default_factory=list)

    @property
    def scopes(self) -> bool:
        return bool(self.denied or self.errored)

    @property
    def remarks(self) -> bool:
        return bool(self.vanished or self.unmatched or self.notes)


def missing_from(run: Run) -> Missing:
    """Of a run without a snapshot, or with one that cannot be read: nothing."""
    if not run.manifest:
        return Missing()
    try:
        snapshot = open_snapshot(open_storage(settings.ENV.storage), str(run.id), run.manifest)
    except SurveyorError:
        return Missing()
    manifest = snapshot.manifest
    schemas: dict[tuple[str, str], list[str]] = defaultdict(list)
    for scope in manifest["scopes"]:
        schemas[scope["status"], scope["kind"]].append(scope["schema"])
    for cause in manifest.get("denied", []):
        # What is hidden may have no scope: a schema that is not listed.
        schemas.setdefault(("denied", cause["kind"]), [])
    found = {key: _names(names) for key, names in sorted(schemas.items())}
    return Missing(
        [_denied(k, n, manifest.get("denied", [])) for (s, k), n in found.items() if s == "denied"],
        [
            _errored(k, n, manifest.get("errored", []))
            for (s, k), n in found.items()
            if s == "errored"
        ],
        _some(f"{one['schema']}.{one['name']}" for one in manifest.get("vanished", [])),
        _some(manifest.get("unmatched", [])),
        [
            Note(reveal(note["text"]), _names(note["names"], note["count"]))
            for note in manifest.get("notes", [])
        ],
    )


def _denied(kind: str, schemas: Names, causes: Sequence[dict[str, Any]]) -> Denied:
    own = [cause for cause in causes if cause["kind"] == kind]
    found = dict.fromkeys(one for cause in own for one in cause.get("fixes", ()))
    # Somebody pastes them: nothing in them that does not show, and none in pieces.
    statements = [one for one in found if one.isprintable()]
    said = [line for cause in own for line in cause["fix"].splitlines() if line not in found]
    advice = dict.fromkeys([BY_HAND] if len(statements) < len(found) else said)
    return Denied(
        kind,
        schemas,
        list(dict.fromkeys(reveal(cause["reason"]) for cause in own if cause["reason"])),
        "\n".join(statements),
        [reveal(line) for line in advice],
    )


def _errored(kind: str, schemas: Names, causes: Iterable[dict[str, Any]]) -> Errored:
    objects = [
        Broken(f"{reveal(cause['schema'])}.{reveal(cause['name'])}", reveal(cause["reason"]))
        for cause in causes
        if cause["kind"] == kind
    ]
    return Errored(kind, objects, schemas)


def _some(names: Iterable[str]) -> Names | None:
    found = list(names)
    return _names(found) if found else None


def _names(names: Sequence[str], count: int | None = None) -> Names:
    """`count` where these are only some of them."""
    shown = [reveal(name) or "(empty)" for name in names[:SHOWN]]
    whole = len(names) if count is None else count
    return Names(whole, ", ".join(shown), whole - len(shown))
