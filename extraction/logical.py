"""What a type is in every dialect: one word of a small closed set, with its sizes."""

from __future__ import annotations

import re
from dataclasses import dataclass

_SIZES = re.compile(r"\(\s*(\d+)\s*(?:,\s*(-?\d+)\s*)?\)")
_LENGTH = {"string", "binary", "bits"}
_PRECISION = {"decimal", "time", "timestamp", "interval"}


@dataclass(frozen=True)
class LogicalType:
    """`length` in the unit of the type's own text; `items` is the word of what an array
    holds, with its own items below it: `array<integer>`."""

    word: str
    length: int | None = None
    precision: int | None = None
    scale: int | None = None
    items: str | None = None

    @property
    def text(self) -> str:
        return f"{self.word}<{self.items}>" if self.items else self.word


OTHER = LogicalType("other")


def sized(word: str, text: str, items: str | None = None) -> LogicalType:
    """The word with what stands in the first brackets of the type's text: `numeric(10,2)`."""
    found = _SIZES.search(text)
    if found is None or items is not None:
        return LogicalType(word, items=items)
    first, second = int(found[1]), int(found[2]) if found[2] else None
    if word in _LENGTH:
        return LogicalType(word, length=first)
    if word == "decimal":
        return LogicalType(word, precision=first, scale=second or 0)
    if word in _PRECISION:
        return LogicalType(word, precision=first)
    return LogicalType(word)
