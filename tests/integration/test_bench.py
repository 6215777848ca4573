"""The benchmark's readers find what is there: on loopback, from afar, with several sessions."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bench import contenders
from bench.corpus import (
    READER,
    READER_OF_DATA,
    CountingServer,
    corpus,
    expected_counts,
    forget_statements,
    source,
    statements,
)
from bench.distance import distant
from bench.floor import floor
from dashboard.local.servers import start
from extraction.catalog import KINDS

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[CountingServer]:
    server = CountingServer(tmp_path_factory.mktemp("bench"))
    child = start(server)
    yield server
    child.stop()


@pytest.fixture(scope="module")
def database(server) -> str:
    return corpus(server, 60)


def test_the_engine_finds_everything_and_its_statements_are_counted(server, database):
    reader = source(server, database, READER)
    forget_statements(server, database)
    assert statements(server, database) == 0
    turn = contenders.engine(reader)
    assert (turn.failure, turn.counts) == ("", expected_counts(server, database))
    assert list(turn.stages) == ["start", "plan", "read", "finish"]
    assert sum(wall for wall, _ in turn.stages.values()) == pytest.approx(turn.wall)
    assert statements(server, database) > len(KINDS)


def test_a_refused_reader_is_a_failure(server, database):
    source(server, database, READER)
    turn = contenders.engine(contenders.Source(source(server, database, READER).target, "wrong"))
    assert turn.failure.startswith("exit 1: ")
    assert turn.counts == {}


def test_the_inspector_finds_what_it_has(server, database):
    expected = expected_counts(server, database)
    found = contenders.inspector(source(server, database, READER_OF_DATA)).counts
    assert {kind: found[kind] for kind in ("relations", "columns")} == {
        kind: expected[kind] for kind in ("relations", "columns")
    }
    refused = contenders.inspector(source(server, database, READER))
    assert "permission denied for schema" in refused.failure


def test_the_floor_asks_for_every_kind(server, database):
    measured = floor(server.url(database))
    assert list(measured.seconds) == list(KINDS)
    assert measured.wall > 0


def test_the_engine_finds_everything_from_afar(server, database):
    with distant(source(server, database, READER), delay=0.001) as (far, seen):
        turn = contenders.engine(far, sessions=4)
    assert (turn.failure, turn.counts) == ("", expected_counts(server, database))
    assert seen.connections > 1
    assert seen.round_trips > seen.connections
    assert seen.bytes_to_client > seen.bytes_to_server > 0
