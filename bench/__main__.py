"""How fast a large catalogue is read: `python -m bench`, or `make bench`.

For each size builds a warehouse (kept for the next time). Then by turns, `--rounds` times:
the server writes the same rows to nowhere (`COPY … TO '/dev/null'`, the floor: no wire, no
Parquet), the engine makes a snapshot of it, SQLAlchemy's Inspector reads it, and with `--peers`
other products do, each in a process of its own. Prints the medians as tables and writes
bench/results/<date>.json. What was found is compared with independent queries; exit 1 when the
engine differs. CPU seconds and memory are those of the reader's process and its children, of
the server's process for the floor; the peak is the highest of all rounds.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

from bench import contenders, peers, record, table
from bench.contenders import Source, Turn
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
from bench.floor import floor
from bench.load import Server
from bench.table import ENGINE, Corpus, Round
from dashboard.local.servers import start
from workers.settings import data_dir

SIZES = (1_000, 10_000, 50_000)
INSPECTOR = "SQLAlchemy Inspector"
Contender = Callable[[Source], Turn]


def measure(
    server: Server, database: str, taking: dict[str, Contender], rounds: int
) -> list[Round]:
    """`rounds` turns of each, who reads first in the order given."""
    sources = {role: source(server, database, role) for role in (READER, READER_OF_DATA)}
    bound = {
        name: partial(read, sources[READER if name == ENGINE else READER_OF_DATA])
        for name, read in taking.items()
    }
    return [_round(server, database, bound, number + 1) for number in range(rounds)]


def _round(
    server: Server, database: str, taking: Mapping[str, Callable[[], Turn]], number: int
) -> Round:
    one = Round(os.getloadavg()[0], floor(server.url(database)))
    said = [f"round {number}: load before {one.load:.1f}", f"floor {one.floor.wall:.2f} s"]
    print(", ".join(said), end="", flush=True)
    for name, read in taking.items():
        forget_statements(server, database)
        one.turns[name] = turn = read()
        one.statements[name] = statements(server, database)
        print(f", {name} {turn.wall:.2f} s{' FAILED' if turn.failure else ''}", end="", flush=True)
    print(flush=True)
    return one


def contenders_at(tables: int, options: argparse.Namespace) -> dict[str, Contender]:
    taking: dict[str, Contender] = {ENGINE: contenders.engine, INSPECTOR: contenders.inspector}
    if tables <= options.peers_up_to:
        for peer in peers.chosen(options.peers):
            taking[f"{peer.name} {peer.version}"] = partial(peers.read, peer)
    return taking


def right(measured: Corpus) -> bool:
    """Whether the engine found everything every time."""
    found = measured.turns()[ENGINE]
    return all(not turn.failure and turn.counts == measured.expected for turn in found)


def differences(measured: Corpus) -> Iterator[str]:
    for number, turn in enumerate(measured.turns()[ENGINE], 1):
        if turn.failure or turn.counts != measured.expected:
            yield f"round {number}: {turn.failure or turn.counts}, expected {measured.expected}"


def run(server: CountingServer, options: argparse.Namespace, path: Path) -> Iterator[Corpus]:
    """One corpus after the other; what is done is written down before the next begins."""
    corpora: list[Corpus] = []
    left_out = peers.prepare(options.peers)
    number = str(server.execute("postgres", "SHOW server_version")[0][0])
    for tables in options.tables:
        database = corpus(server, tables, options.columns, options.seed)
        expected = expected_counts(server, database)
        taking = contenders_at(tables, options)
        corpora.append(
            Corpus(tables, database, expected, measure(server, database, taking, options.rounds))
        )
        what = {"options": vars(options), "left_out": left_out}
        record.write(path, number, {**what, "corpora": [asdict(one) for one in corpora]})
        yield corpora[-1]
    print("\n".join(f"left out: {name}: {reason}" for name, reason in left_out.items()), "\n")


def _arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--tables", type=int, nargs="+", default=SIZES, help="sizes of corpora")
    parser.add_argument("--columns", type=int, default=12, help="mean per table")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3, help="turns of each; medians are shown")
    parser.add_argument(
        "--peers",
        nargs="*",
        choices=peers.NAMES,
        metavar="NAME",
        help=f"also other products, all or some of: {', '.join(peers.NAMES)}. Installs each"
        f" below {peers.HOME} (gigabytes) and takes minutes a round",
    )
    parser.add_argument(
        "--peers-up-to",
        type=int,
        default=10_000,
        metavar="TABLES",
        help="the largest corpus that peers read (default: %(default)s)",
    )
    return parser.parse_args(given)


def main() -> int:
    options = _arguments()
    server = CountingServer(data_dir() / "bench" / "postgres")
    path = record.new_file()
    child = start(server)
    corpora = []
    try:
        for measured in run(server, options, path):
            corpora.append(measured)
            print("\n".join(["", *table.of_corpus(measured), *differences(measured), ""]))
    finally:
        child.stop()
    if len(corpora) > 1:
        print("\n".join(table.of_growth(corpora)), end="\n\n")
    print(f"written: {os.path.relpath(path)}")
    return 0 if all(map(right, corpora)) else 1


if __name__ == "__main__":
    sys.exit(main())
