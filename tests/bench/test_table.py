"""Medians over rounds, ratios to the floor, growth, and who did not find everything."""

from __future__ import annotations

from bench import peers
from bench.__main__ import right
from bench.contenders import Turn
from bench.floor import Floor
from bench.table import ENGINE, Corpus, Round, of_corpus, of_growth

EXPECTED = {"relations": 1000, "columns": 5000}
OTHER = "Other"


def corpus(tables: int, walls: list[float], **turn) -> Corpus:
    """A floor of 2 s; the engine takes `walls`, the other reader ten times as long."""
    ours = {"counts": EXPECTED, **turn}
    rounds = [
        Round(
            load=0.0,
            floor=Floor({"relations": 0.5, "columns": 1.5}, cpu=1.9),
            turns={
                ENGINE: Turn(wall, 1.0, 100 * 2**20, stages={"read": (wall / 2, 0.5)}, **ours),
                OTHER: Turn(10 * wall, 9.0, 2**30, {"relations": 1000, "columns": 4999}),
            },
            statements={ENGINE: 25, OTHER: 4000},
        )
        for wall in walls
    ]
    return Corpus(tables, "bench", {**EXPECTED, "relations": tables}, rounds)


def cells(lines) -> dict[str, list[str]]:
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if "|" in line]
    return {row[0]: row[1:] for row in rows}


def test_shows_medians_and_ratios():
    rows = cells(of_corpus(corpus(1000, [9.0, 3.0, 4.0])))
    assert rows["server alone (floor)"][:4] == ["2.00", "1.90", "", "1.00"]
    assert rows[f"{ENGINE}: read"][:4] == ["2.00", "0.50", "", "1.00"]
    assert rows[ENGINE] == ["4.00", "1.00", "100", "2.00", "25.0", "2 kinds"]
    assert rows[OTHER] == [
        "40.00",
        "9.00",
        "1024",
        "20.00",
        "4000.0",
        "1 kind, columns 4,999 of 5,000",
    ]


def test_who_failed_once_has_no_figures():
    failed = corpus(1000, [1.0], failure="exit 1: out of memory")
    assert cells(of_corpus(failed))[ENGINE] == [*"–––––", "exit 1: see the results"]
    assert ENGINE not in failed.walls()


def test_tells_what_a_relation_costs_in_larger_corpora():
    rows = cells(of_growth([corpus(1000, [2.0]), corpus(2000, [5.0])]))
    assert rows[ENGINE] == ["2.000", "2.500", "1.25"]
    assert rows["server alone (floor)"] == ["2.000", "1.000", "0.50"]


def test_the_engine_is_right_only_with_every_row_every_time():
    assert right(corpus(1000, [1.0, 1.0]))
    assert not right(corpus(1000, [1.0], counts={**EXPECTED, "columns": 4999}))
    assert not right(corpus(1000, [1.0], counts={"relations": 1000}))
    assert not right(corpus(1000, [1.0], failure="partial"))


def test_names_every_peer_that_is_left_out():
    everyone = {*peers.NAMES, *peers.NOT_RUN}
    assert set(peers.prepare(None)) == everyone
    assert all(peers.NOT_RUN.values())
    assert peers.chosen(None) == []
