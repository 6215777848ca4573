"""Names for what the source left unnamed, made of what it is about."""

from __future__ import annotations

from collections.abc import Sequence

_ENDS = {"primary_key": "pkey", "unique": "key", "foreign_key": "fkey", "check": "check"}


class Names:
    """Of the constraints of one relation. A name that is taken gets a number, in order."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def of(self, given: str | None, relation: str, columns: Sequence[str], kind: str) -> str:
        listed = [] if kind == "primary_key" else columns
        base = given or "_".join([relation, *listed, _ENDS.get(kind, kind)])
        name, number = base, 1
        while name in self._taken:
            number += 1
            name = f"{base}{'_' if given else ''}{number}"
        self._taken.add(name)
        return name


def quoted(name: str) -> str:
    """Where a name is no plain word it stands in double quotes."""
    plain = name.isascii() and name.isidentifier()
    return name if plain else '"' + name.replace('"', '""') + '"'
