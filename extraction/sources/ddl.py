"""What only the text of a CREATE statement says, where SQLite and DuckDB keep it: CHECK,
COLLATE, names of constraints, generated columns, expressions of indexes, triggers.

The source has parsed these texts before; here they are cut into words, never judged. What is
not understood is left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NamedTuple

_WORD = re.compile(
    r"""(?P<skip>\s+|--[^\n]*|/\*.*?(?:\*/|$))
    |(?P<text>'(?:[^']|'')*')
    |(?P<name>"(?:[^"]|"")*"|`(?:[^`]|``)*`|\[[^\]]*\])
    |(?P<word>[\w$\\\x80-\U0010ffff]+)
    |(?P<mark>.)""",
    re.VERBOSE | re.DOTALL,
)
# After a column's type, what begins one of its constraints.
_BEGINS = frozenset(
    [
        "CONSTRAINT",
        "PRIMARY",
        "NOT",
        "NULL",
        "UNIQUE",
        "CHECK",
        "DEFAULT",
        "COLLATE",
        "REFERENCES",
        "GENERATED",
        "AS",
    ]
)
_TABLE_BEGINS = frozenset(("CONSTRAINT", "PRIMARY", "UNIQUE", "CHECK", "FOREIGN"))


class Word(NamedTuple):
    """`upper` is a bare word in capitals, a mark as it is, or empty for what is quoted."""

    upper: str
    text: str
    start: int
    end: int

    @property
    def name(self) -> str:
        return unquoted(self.text)


@dataclass(frozen=True)
class Constraint:
    """`columns` as written; of a check those words that may be a column."""

    kind: str
    name: str | None
    columns: tuple[str, ...]
    text: str = ""
    deferrable: str = ""


@dataclass
class TableText:
    """`collations` and `generated` by the column's name in lower case."""

    constraints: list[Constraint] = field(default_factory=list)
    collations: dict[str, str] = field(default_factory=dict)
    generated: dict[str, str] = field(default_factory=dict)


class IndexText(NamedTuple):
    """`keys` are the parts of the list, without order and collation."""

    keys: tuple[str, ...]
    predicate: str | None


class TriggerText(NamedTuple):
    timing: str
    events: tuple[str, ...]


def unquoted(text: str) -> str:
    if len(text) > 1 and text[0] in "\"`'" and text[-1] == text[0]:
        return text[1:-1].replace(text[0] * 2, text[0])
    return text[1:-1] if text[:1] == "[" else text


def is_name(text: str) -> bool:
    """Whether this is one quoted name and nothing else."""
    found = _WORD.fullmatch(text)
    return found is not None and found.lastgroup == "name"


def words(sql: str) -> list[Word]:
    found = []
    for match in _WORD.finditer(sql):
        group = match.lastgroup
        if group != "skip":
            text = match[0]
            upper = text.upper() if group == "word" else text if group == "mark" else ""
            found.append(Word(upper, text, match.start(), match.end()))
    return found


@lru_cache(256)
def table_text(sql: str) -> TableText:
    found = TableText()
    all_words = words(sql)
    opening = _opening(all_words)
    for part in _parts(all_words, opening):
        if part[0].upper in _TABLE_BEGINS:
            _constraints(found, sql, part, None)
        else:
            column = part[0].name
            start = next((i for i, w in enumerate(part) if i and w.upper in _BEGINS), len(part))
            _constraints(found, sql, part[start:], column)
    return found


def index_text(sql: str) -> IndexText:
    all_words = words(sql)
    opening = _opening(all_words)
    keys = tuple(_key(sql, part) for part in _parts(all_words, opening))
    after = all_words[_closing(all_words, opening) + 1 :]
    predicate = sql[after[0].end :].strip() if after and after[0].upper == "WHERE" else None
    return IndexText(keys, predicate)


def trigger_text(sql: str) -> TriggerText:
    timing, found = "BEFORE", words(sql[:4096])
    for place, word in enumerate(found[3:], 3):
        if word.upper in ("AFTER", "INSTEAD", "BEFORE"):
            timing = "INSTEAD OF" if word.upper == "INSTEAD" else word.upper
        elif word.upper in ("INSERT", "UPDATE", "DELETE") and found[place - 1].upper != ".":
            return TriggerText(timing, (word.upper,))
    return TriggerText(timing, ())


def _opening(all_words: Sequence[Word]) -> int:
    """Where the list in brackets begins that a table or an index is made of."""
    return next((i for i, word in enumerate(all_words) if word.upper == "("), len(all_words))


def _closing(all_words: Sequence[Word], opening: int) -> int:
    depth = 0
    for place in range(opening, len(all_words)):
        depth += {"(": 1, ")": -1}.get(all_words[place].upper, 0)
        if not depth:
            return place
    return len(all_words)


def _parts(all_words: Sequence[Word], opening: int) -> Iterator[Sequence[Word]]:
    """What stands between the commas of the list that begins there."""
    begin, depth = opening + 1, 0
    for place in range(opening + 1, _closing(all_words, opening) + 1):
        mark = all_words[place].upper if place < len(all_words) else ")"
        if depth == 0 and mark in (",", ")"):
            if begin < place:
                yield all_words[begin:place]
            begin = place + 1
        depth += {"(": 1, ")": -1}.get(mark, 0)


def _key(sql: str, part: Sequence[Word]) -> str:
    end = len(part)
    if part[end - 1].upper in ("ASC", "DESC") and end > 1:
        end -= 1
    if end > 2 and part[end - 2].upper == "COLLATE":
        end -= 2
    return sql[part[0].start : part[end - 1].end]


def _constraints(found: TableText, sql: str, part: Sequence[Word], column: str | None) -> None:
    """Constraints one after the other, of a column or of the table."""
    name: str | None = None
    place = 0
    while place < len(part):
        kind = part[place].upper
        if kind == "CONSTRAINT" and place + 1 < len(part):
            name, place = part[place + 1].name, place + 2
            continue
        bracket = place + _opening(part[place:])
        end = _closing(part, bracket)
        inside = part[bracket + 1 : end]
        listed = (column,) if column else tuple(w.name for w in _firsts(part, bracket))
        if kind == "CHECK":
            text = sql[inside[0].start : inside[-1].end] if inside else ""
            names = tuple(w.name for w in inside if w.upper.isidentifier() or w.text[0] in '"`[')
            found.constraints.append(Constraint("check", name, names, text))
            place = end
        elif kind in ("PRIMARY", "UNIQUE"):
            found.constraints.append(Constraint(_KINDS[kind], name, listed))
            place = place if column else end
        elif kind == "REFERENCES":
            text = _deferrable(part[place:])
            found.constraints.append(Constraint("foreign_key", name, listed, "", text))
        elif kind == "FOREIGN":
            words_ = (w.upper for w in part[end:])
            place = end + next((i for i, w in enumerate(words_) if w == "REFERENCES"), len(part))
            text = _deferrable(part[place:])
            found.constraints.append(Constraint("foreign_key", name, listed, "", text))
        elif column and kind == "COLLATE" and place + 1 < len(part):
            found.collations[column.lower()] = part[place + 1].name
            place += 1
        elif column and kind == "AS" and inside:
            found.generated[column.lower()] = sql[inside[0].start : inside[-1].end]
            place = end
        elif kind == "DEFAULT" and part[max(place - 1, 0)].upper != "SET":
            place = end if bracket == place + 1 else place + 1
        if kind in _BEGINS or kind == "FOREIGN":
            name = None
        place += 1


_KINDS = {"PRIMARY": "primary_key", "UNIQUE": "unique"}


def _firsts(part: Sequence[Word], bracket: int) -> list[Word]:
    return [words[0] for words in _parts(part, bracket)]


def _deferrable(part: Sequence[Word]) -> str:
    """Of the reference that begins there, up to the next constraint."""
    for place, word in enumerate(part):
        if place and word.upper in ("CONSTRAINT", "CHECK", "UNIQUE", "PRIMARY", "COLLATE"):
            return ""
        if word.upper == "DEFERRABLE":
            if part[place - 1].upper == "NOT":
                return ""
            late = [w.upper for w in part[place + 1 : place + 3]] == ["INITIALLY", "DEFERRED"]
            return "DEFERRABLE INITIALLY DEFERRED" if late else "DEFERRABLE"
    return ""
