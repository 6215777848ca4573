"""What a benchmark has measured, as tables that a document can take as they are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median

from bench.contenders import Turn
from bench.floor import Floor

ENGINE, FLOOR = "Surveyor", "server alone (floor)"
MIB = 2**20


@dataclass(frozen=True)
class Round:
    """`load` is the machine's before it: what else ran there is in every figure.
    `statements` are those that reached the server, by contender."""

    load: float
    floor: Floor
    turns: dict[str, Turn] = field(default_factory=dict)
    statements: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Corpus:
    tables: int
    database: str
    expected: dict[str, int]
    rounds: list[Round]

    def walls(self) -> dict[str, float]:
        """Median seconds of whoever read it all every time, in the order of their turns."""
        walls = {FLOOR: median(r.floor.wall for r in self.rounds)}
        for name, turns in self.turns().items():
            if not any(turn.failure for turn in turns):
                walls[name] = median(turn.wall for turn in turns)
        return walls

    def turns(self) -> dict[str, list[Turn]]:
        return {name: [r.turns[name] for r in self.rounds] for name in self.rounds[0].turns}


def of_corpus(corpus: Corpus) -> Iterator[str]:
    relations, rows = corpus.expected["relations"], sum(corpus.expected.values())
    yield f"{corpus.tables:,} tables: {relations:,} relations, {rows:,} rows of all kinds"
    yield ""
    head = ("", "wall s", "CPU s", "peak MiB", "× floor", "statements / 1,000", "found as expected")
    yield from _lines(head, _rows(corpus))


def _rows(corpus: Corpus) -> Iterator[Sequence[str]]:
    floors = [r.floor for r in corpus.rounds]
    least = median(floor.wall for floor in floors)
    yield (FLOOR, f"{least:.2f}", f"{median(f.cpu for f in floors):.2f}", "", "1.00")
    for name, turns in corpus.turns().items():
        if failure := next((turn.failure for turn in turns if turn.failure), ""):
            short = failure.partition(":")[0]
            yield (name, "–", "–", "–", "–", "–", f"{short}: see the results")
            continue
        for stage in turns[0].stages:
            wall, cpu = (median(t.stages[stage][place] for t in turns) for place in (0, 1))
            yield (f"{name}: {stage}", f"{wall:.2f}", f"{cpu:.2f}", "", f"{wall / least:.2f}")
        wall, cpu = median(t.wall for t in turns), median(t.cpu for t in turns)
        peak = max(t.peak_memory for t in turns) / MIB
        asked = median(r.statements[name] for r in corpus.rounds)
        per = 1000 * asked / corpus.expected["relations"]
        found = _found(turns[-1].counts, corpus.expected)
        yield (
            name,
            f"{wall:.2f}",
            f"{cpu:.2f}",
            f"{peak:.0f}",
            f"{wall / least:.2f}",
            f"{per:.1f}",
            found,
        )


def _found(counts: Mapping[str, int], expected: Mapping[str, int]) -> str:
    """How many kinds, and which of them differ from what is there."""
    shared = [kind for kind in expected if kind in counts]
    differ = [k for k in shared if counts[k] != expected[k]]
    said = [f"{kind} {counts[kind]:,} of {expected[kind]:,}" for kind in differ]
    right = len(shared) - len(differ)
    return ", ".join([f"{right} {'kind' if right == 1 else 'kinds'}", *said])


def of_growth(corpora: Sequence[Corpus]) -> Iterator[str]:
    """Seconds per 1,000 relations, and how much more a relation costs in the larger corpora."""
    per = [
        {name: 1000 * wall / c.expected["relations"] for name, wall in c.walls().items()}
        for c in corpora
    ]
    steps = list(pairwise(corpora))
    head = (
        "seconds / 1,000 relations",
        *(f"{c.tables:,}" for c in corpora),
        *(f"{larger.tables:,} / {smaller.tables:,}" for smaller, larger in steps),
    )
    yield from _lines(head, _growth(per))


def _growth(per: Sequence[Mapping[str, float]]) -> Iterator[Sequence[str]]:
    for name in dict.fromkeys(name for one in per for name in one):
        values = [one.get(name) for one in per]
        ratios = [b / a if a and b else None for a, b in pairwise(values)]
        yield (
            name,
            *("–" if value is None else f"{value:.3f}" for value in values),
            *("–" if ratio is None else f"{ratio:.2f}" for ratio in ratios),
        )


def _lines(head: Sequence[str], rows: Iterator[Sequence[str]]) -> Iterator[str]:
    """Markdown with columns of one width: the first to the left, figures to the right."""
    filled = [[*row, *[""] * (len(head) - len(row))] for row in (head, *rows)]
    widths = [max(len(row[place]) for row in filled) for place in range(len(head))]
    rule = [("-" * widths[0]), *("-" * (width - 1) + ":" for width in widths[1:])]
    for row in (filled[0], rule, *filled[1:]):
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        yield f"| {' | '.join(cells)} |"
