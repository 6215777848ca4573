"""What distance costs: `python -m bench.distance`.

The engine reads a warehouse with several sessions at a time, by turns on loopback and through a
proxy that delays everything (bench/proxy.py), each in a process of its own. Seconds are those of
plan, read and finish, without the start of the process. Bars: at most twice the loopback's
seconds, at most 40 round trips per 1,000 relations.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from statistics import median

from bench import contenders, record
from bench.contenders import Source, Turn
from bench.corpus import READER, CountingServer, corpus, expected_counts, source
from bench.proxy import Seen
from dashboard.local.servers import start
from workers.settings import data_dir

SLOWER, TRIPS = 2.0, 40


@dataclass(frozen=True)
class Round:
    load: float
    near: Turn
    far: Turn
    wire: Seen


def seconds(turn: Turn) -> float:
    return sum(wall for stage, (wall, _) in turn.stages.items() if stage != "start")


@contextmanager
def distant(near: Source, delay: float) -> Iterator[tuple[Source, Seen]]:
    """The source behind a proxy; what went through it is filled in at the end."""
    target, seen = near.target, Seen()
    command = [sys.executable, "-m", "bench.proxy", target.host, str(target.port), str(delay)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as proxy:
        assert proxy.stdin and proxy.stdout
        try:
            port = int(proxy.stdout.readline())
            yield Source(replace(target, port=port), near.password), seen
        finally:
            proxy.stdin.close()
            said = proxy.stdout.read()
    vars(seen).update(json.loads(said))


def measure(near: Source, options: argparse.Namespace) -> Iterator[Round]:
    for number in range(options.rounds):
        load = os.getloadavg()[0]
        on_loopback = contenders.engine(near, options.sessions)
        with distant(near, options.delay / 1000) as (far, seen):
            from_afar = contenders.engine(far, options.sessions)
        print(
            f"round {number + 1}: loopback {seconds(on_loopback):.2f} s, from afar"
            f" {seconds(from_afar):.2f} s, load before {load:.1f}",
            flush=True,
        )
        yield Round(load, on_loopback, from_afar, seen)


def report(rounds: list[Round], expected: dict[str, int]) -> tuple[list[str], bool]:
    """Lines, and whether all was found within the bars."""
    turns = [turn for one in rounds for turn in (one.near, one.far)]
    lines = [f"FAILED: {turn.failure}" for turn in turns if turn.failure]
    if lines:
        return lines, False
    lines.append(f"{'stage':<10}{'loopback s':>12}{'from afar s':>13}")
    for stage in rounds[0].near.stages:
        near, far = (median(t.stages[stage][0] for t in side) for side in _sides(rounds))
        lines.append(f"{stage:<10}{near:>12.2f}{far:>13.2f}")
    ratio = median(seconds(one.far) / seconds(one.near) for one in rounds)
    trips = median(one.wire.round_trips for one in rounds)
    per = 1000 * trips / expected["relations"]
    wire = rounds[-1].wire
    lines += [
        f"from afar / loopback  {ratio:>8.2f} without start (bar {SLOWER:.0f})",
        f"round trips           {trips:>8.0f}, {per:.1f} per 1,000 relations (bar {TRIPS}),"
        f" over {wire.connections} connections",
        f"bytes                 {wire.bytes_to_client / 2**20:>8.1f} MiB received,"
        f" {wire.bytes_to_server / 2**20:.1f} MiB sent",
    ]
    equal = all(turn.counts == expected for turn in turns)
    lines += [] if equal else [f"DIFFERENT: {turns[-1].counts}, expected {expected}"]
    return lines, equal and ratio <= SLOWER and per <= TRIPS


def _sides(rounds: list[Round]) -> tuple[list[Turn], list[Turn]]:
    return [one.near for one in rounds], [one.far for one in rounds]


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m bench.distance",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--tables", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sessions", type=int, default=4, help="shards read at a time")
    parser.add_argument("--delay", type=float, default=10.0, help="milliseconds each way")
    options = parser.parse_args()
    server = CountingServer(data_dir() / "bench" / "postgres")
    path = record.new_file("distance")
    child = start(server)
    try:
        database = corpus(server, options.tables)
        expected = expected_counts(server, database)
        number = str(server.execute(database, "SHOW server_version")[0][0])
        rounds = list(measure(source(server, database, READER), options))
    finally:
        child.stop()
    lines, good = report(rounds, expected)
    print("\n".join(lines))
    what = {"options": vars(options), "rounds": [asdict(one) for one in rounds]}
    record.write(path, number, what)
    print(f"written: {os.path.relpath(path)}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
