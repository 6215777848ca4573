"""Child processes that read texts: one bad text costs nothing but itself."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from extraction import parsers as module
from extraction.connection import Stopped
from extraction.parsers import Parsers, ParsersBroken, Text

OBEY = "tests.extraction.parse_hooks:obey"
LIMIT = 0.4


@pytest.fixture
def parsers() -> Iterator[Parsers]:
    with closing(Parsers(2, LIMIT, OBEY)) as made:
        yield made


class closing:
    def __init__(self, parsers: Parsers) -> None:
        self.parsers = parsers

    def __enter__(self) -> Parsers:
        return self.parsers

    def __exit__(self, *exc: object) -> None:
        self.parsers.close()


def texts(*orders: str) -> list[Text]:
    return [Text("s", order) for order in orders]


def echo(text: str) -> list[tuple[str, str, str]]:
    return [("s", text, "mysql")]


def alive(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False


def test_answers_come_in_the_order_of_the_texts(parsers: Parsers) -> None:
    orders = [f"t{number}" for number in range(100)]
    done: list[int] = []
    assert parsers.read("mysql", texts(*orders), report=done.append) == [echo(o) for o in orders]
    assert done == sorted(done) and done[-1] == 100 and len(done) > 3


def test_no_text_needs_no_child(parsers: Parsers) -> None:
    assert Parsers(1, LIMIT, "no.such.module:at_all").read("mysql", []) == []


@pytest.mark.parametrize(
    ("order", "reason"),
    [
        ("hang", "it takes longer than 0.4 s"),
        ("sleep", "it takes longer than 0.4 s"),
        ("freeze", "it takes longer than 0.4 s"),
        ("exit 3", "the parser does not survive it"),
        ("eat", "it takes too much memory"),
        ("nest", "it is nested too deeply"),
        ("raise canary", "the parser fails (KeyError)"),
        ("refuse it is no query", "it is no query"),
    ],
)
def test_a_bad_text_costs_itself_alone(parsers: Parsers, order: str, reason: str) -> None:
    around = [f"t{number}" for number in range(20)]
    answers = parsers.read("mysql", texts(*around[:7], order, *around[7:]))
    assert answers == [*map(echo, around[:7]), reason, *map(echo, around[7:])]
    assert parsers.read("mysql", texts("again")) == [echo("again")]


def test_several_bad_ones_in_one_chunk(parsers: Parsers) -> None:
    orders = ["a", "exit 1", "hang", "b", "exit 2", "c"]
    kinds = [
        answer if isinstance(answer, str) else ""
        for answer in parsers.read("mysql", texts(*orders))
    ]
    dies = "the parser does not survive it"
    assert kinds == ["", dies, "it takes longer than 0.4 s", "", dies, ""]


def test_a_child_that_somebody_else_ended_is_no_texts_fault(
    parsers: Parsers, tmp_path: Path
) -> None:
    orders = ["a", f"exit-once {tmp_path / 'seen'}", "b"]
    assert parsers.read("mysql", texts(*orders)) == [echo(order) for order in orders]


def test_a_cancel_stops_it_at_once_and_leaves_no_child_at_work(parsers: Parsers) -> None:
    patient = Parsers(2, 30, OBEY)
    (first,), (second,) = patient.read("mysql", texts(*["pid"] * 40))[::39]
    pids = {int(first[1]), int(second[1])}

    class Cancelled(Exception):
        pass

    asked: list[bool] = []

    def check() -> None:
        asked.append(True)
        if len(asked) > 3:
            raise Cancelled

    began = time.monotonic()
    with closing(patient), pytest.raises(Cancelled):
        patient.read("mysql", texts(*["hang"] * 40), check)
    assert time.monotonic() - began < 5
    assert not any(alive(pid) for pid in pids)


def test_threads_share_the_children(parsers: Parsers) -> None:
    answers: dict[int, list[object]] = {}

    def ask(number: int) -> None:
        answers[number] = list(parsers.read("mysql", texts(*[f"t{number}"] * 50)))

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert answers == {number: [echo(f"t{number}")] * 50 for number in range(4)}
    pids = {one[0][1] for _ in range(3) for one in parsers.read("mysql", texts(*["pid"] * 40))}
    assert 1 <= len(pids) <= 2


def test_a_child_is_another_command_than_ours_and_ends_with_close(parsers: Parsers) -> None:
    ((_, pid, _),) = parsers.read("mysql", texts("pid"))[0]
    command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    assert b"-m" not in command and b"workers" not in command
    os.kill(int(pid), signal.SIGTERM)
    os.kill(int(pid), signal.SIGINT)
    assert parsers.read("mysql", texts("pid")) == [[("s", pid, None)]]
    parsers.close()
    assert not alive(int(pid))


def test_children_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    import subprocess
    import sys

    script = tmp_path / "parent.py"
    script.write_text(
        "import os, sys\nfrom extraction.parsers import Parsers, Text\n"
        "if __name__ == '__main__':\n"
        f"    p = Parsers(1, 1, {OBEY!r})\n"
        "    print(p.read('mysql', [Text('s', 'pid')])[0][0][1], flush=True)\n"
        "    p.read('mysql', [Text('s', 'hang')])\n"
    )
    parent = subprocess.Popen(
        [sys.executable, str(script)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert parent.stdout is not None
    pid = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    end = time.monotonic() + 10
    while alive(pid):
        assert time.monotonic() < end
        time.sleep(0.02)


def test_children_that_do_not_start_are_an_error_of_ours() -> None:
    with (
        closing(Parsers(2, LIMIT, "no.such.module:at_all")) as broken,
        pytest.raises(ParsersBroken),
    ):
        broken.read("mysql", texts("a"))


def test_dialects_that_fold_case_are_those_that_the_parser_knows_as_such() -> None:
    from sqlglot.dialects.dialect import Dialect, NormalizationStrategy

    from extraction.lineage import ANY_CASE

    strategies = {name: Dialect.get_or_raise(name).normalization_strategy for name in ANY_CASE}
    assert set(strategies.values()) == {NormalizationStrategy.CASE_INSENSITIVE}
    assert module.MOST_CHILDREN >= Parsers().count >= 1


def test_a_frozen_child_keeps_nobody_from_stopping() -> None:
    parsers = Parsers(1)
    parsers.read("mysql", [Text("s", "select a from t")])
    child = parsers.take(1)
    assert child is not None
    os.kill(child._process.pid or 0, signal.SIGSTOP)
    parsers.give_back(child)
    end = time.monotonic() + 0.5

    def stopped() -> None:
        if time.monotonic() > end:
            raise Stopped

    texts = [Text("s", f"select {n}," + "a," * 20_000 + "a from t") for n in range(32)]
    with pytest.raises(Stopped):
        parsers.read("mysql", texts, stopped)
    parsers.close()
