"""What a run is asked to read: patterns over schemas and names, and kinds.

A pattern is `schema` or `schema.name`, matched as a whole and by case; `*` is
any text, `?` one character, a backslash makes the next character plain (needed
for a dot inside a name). `schema` alone stands for the schema and all in it;
`schema.name` for relations, sequences and routines of that name. Missing or
empty means everything; exclude wins over include. Kinds that are not named are
neither read nor spoken of.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from extraction.catalog import KINDS
from extraction.errors import InvalidSelection

MAX_PATTERN = 256

# One character of a pattern: what it is, and whether a backslash made it plain.
Token = tuple[str, bool]


@dataclass(frozen=True)
class Selection:
    include: list[str] = field(default_factory=list)
    exclude: list[str] = field(default_factory=list)
    kinds: list[str] = field(default_factory=list)

    def matcher(self) -> Matcher:
        """Compiled, and refused with InvalidSelection where it cannot be read."""
        unknown = next((kind for kind in self.kinds if kind not in KINDS), None)
        if unknown is not None:
            raise InvalidSelection(
                f"Unknown kind {unknown!r}.", "Choose among " + ", ".join(KINDS) + "."
            )
        kinds = tuple(name for name in KINDS if not self.kinds or name in self.kinds)
        return Matcher(_compiled(self.include), _compiled(self.exclude), kinds)


@dataclass(frozen=True)
class Pattern:
    """`plain_schema` is the schema's name where nothing in it stands for something else."""

    text: str
    schema: re.Pattern[str]
    name: re.Pattern[str] | None
    plain_schema: str | None = None

    def covers_schema(self, schema: str) -> bool:
        return self.name is None and self.schema.fullmatch(schema) is not None

    def matches(self, schema: str, name: str) -> bool:
        if self.schema.fullmatch(schema) is None:
            return False
        return self.name is None or self.name.fullmatch(name) is not None


@dataclass(frozen=True)
class Matcher:
    include: list[Pattern]
    exclude: list[Pattern]
    kinds: tuple[str, ...]

    @property
    def everything(self) -> bool:
        return not (self.include or self.exclude)

    def schema(self, schema: str) -> bool:
        """Is the schema itself selected, whatever it holds?"""
        if self.schema_excluded(schema):
            return False
        return not self.include or any(p.covers_schema(schema) for p in self.include)

    def schema_excluded(self, schema: str) -> bool:
        return any(p.covers_schema(schema) for p in self.exclude)

    def item(self, schema: str, name: str) -> bool:
        """Is this relation, sequence or routine selected?"""
        if any(p.matches(schema, name) for p in self.exclude):
            return False
        return not self.include or any(p.matches(schema, name) for p in self.include)


def _compiled(patterns: Iterable[str]) -> list[Pattern]:
    return [_pattern(text) for text in patterns]


def _pattern(text: str) -> Pattern:
    parts = _parts(text)
    if len(parts) > 2:
        raise _invalid(text, "has more than one dot", r"Write a dot inside a name as `\.`.")
    if not all(parts):
        raise _invalid(text, "has an empty name", "Write `schema` or `schema.name`.")
    compiled = [re.compile(_regex(part), re.DOTALL) for part in parts]
    wild = any(character in "*?" and not plain for character, plain in parts[0])
    schema = None if wild else "".join(character for character, _ in parts[0])
    return Pattern(text, compiled[0], compiled[1] if len(compiled) == 2 else None, schema)


def _parts(text: str) -> list[list[Token]]:
    if not text.strip():
        raise _invalid(text, "is empty", "Write `schema` or `schema.name`, or leave it out.")
    if len(text) > MAX_PATTERN:
        raise _invalid(text, f"is longer than {MAX_PATTERN} characters", "Shorten it with `*`.")
    parts: list[list[Token]] = [[]]
    for character, plain in _tokens(text):
        if character == "." and not plain:
            parts.append([])
        else:
            parts[-1].append((character, plain))
    return parts


def _tokens(text: str) -> Iterator[Token]:
    characters = iter(text)
    for character in characters:
        if character != "\\":
            yield character, False
            continue
        escaped = next(characters, None)
        if escaped is None:
            raise _invalid(text, "ends with a backslash", r"Write a backslash itself as `\\`.")
        yield escaped, True


def _regex(tokens: list[Token]) -> str:
    pieces = [""]
    for character, plain in tokens:
        if character == "*" and not plain:
            pieces.append("")
        else:
            pieces[-1] += "." if character == "?" and not plain else re.escape(character)
    if len(pieces) == 1:
        return pieces[0]
    first, *middle, last = pieces
    # Atomic groups: the shortest match for each piece is never given up again,
    # so that no pattern can make the matching exponential.
    return first + "".join(f"(?>.*?{piece})" for piece in middle if piece) + ".*" + last


def _invalid(text: str, why: str, fix: str) -> InvalidSelection:
    return InvalidSelection(f"The pattern {quoted(text)} {why}.", fix)


def quoted(text: str) -> str:
    """A pattern as a message shows it: short, and visible in every character."""
    shown = text if len(text) <= 80 else text[:77] + "..."
    return f"'{shown}'" if shown.isprintable() else repr(shown)
