"""What a run is asked to read: patterns over schemas and relations, and kinds.

A pattern is `schema` or `schema.relation`, matched as a whole and by case;
`*` is any text, `?` one character, a backslash makes the next character plain
(needed for a dot inside a name). Missing or empty means everything; exclude
wins over include.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Selection:
    include: list[str] = field(default_factory=list)
    exclude: list[str] = field(default_factory=list)
    kinds: list[str] = field(default_factory=list)
