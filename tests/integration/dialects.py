"""The suite that every dialect passes.

A dialect's test inherits DialectContract, names its place (where its databases are made),
its words and its golden rows. What the dialect lacks it declares; the tests for that are
then not made.
"""

from __future__ import annotations

import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Protocol

import pytest

from extraction.catalog import KINDS
from extraction.connection import AddressPolicy, Credentials, Options, Stopped, Target, open_session
from extraction.errors import AuthenticationFailed, SourceChanged
from extraction.extract import Advance
from extraction.selection import Selection
from extraction.snapshot.reader import Snapshot, open_snapshot
from extraction.storage import open_storage
from tests.extraction.engine import Engine, digests, rows_of

WRONG = "canary-wrong-password"
HOSTILE = ["a.b", 'q"uote', "it's", "new\nline", "%s{0}", "ünï", "../../x", "<script>", "Ω" * 31,
           "tab\t", "back\\slash", "`tick", ";drop", "\u202eevil", "--", "[x]"]  # fmt: skip
# Three batches of relations in two shards, and the batches of schemas and the like.
MANY = 300

# Which columns are compared, and the rows of them.
Golden = tuple[str, Sequence[tuple[Any, ...]]]


class Place(Protocol):
    """Makes databases, as their owner."""

    password: str
    policy: AddressPolicy

    def new(self, *statements: str) -> Target:
        """A database of its own, with what the statements make in it."""

    def execute(self, target: Target, *statements: str) -> None: ...


class Died(Exception):
    pass


def needs(capability: str) -> Callable[[Any], Any]:
    def mark(test: Any) -> Any:
        test.capability = capability
        return test

    return mark


class DialectContract:
    # What the dialect has.
    refuses: ClassVar[bool] = False  # rights on the catalogue
    logs_in: ClassVar[bool] = False  # a password that can be wrong
    long_comments: ClassVar[bool] = False  # longer than what is kept of them
    zero_columns: ClassVar[bool] = False
    # How a run of everything ends where nothing is refused.
    ends: ClassVar[str] = "succeeded"

    # Its words.
    schema: ClassVar[str] = "main"
    quotes: ClassVar[str] = '"'
    column_type: ClassVar[str] = "int"
    most_columns: ClassVar[int] = 1600
    hanging: ClassVar[str] = ""  # a statement that takes minutes
    emptying: ClassVar[tuple[str, ...]] = ()  # what a new database has to lose to hold nothing
    hostile: ClassVar[list[str]] = HOSTILE

    # A database that holds every kind the dialect has, and what is to be found in it. Kinds that
    # are not named must have no rows.
    script: ClassVar[tuple[str, ...]] = ()
    golden: ClassVar[dict[str, Golden]] = {}

    def __init_subclass__(cls) -> None:
        for name in dir(cls):
            capability = getattr(getattr(cls, name, None), "capability", None)
            if capability and not getattr(cls, capability):
                setattr(cls, name, None)

    def refused(self, place: Any) -> tuple[Target, str]:
        """A database of the script as somebody sees it who is refused a part of its catalogue,
        and the password."""
        raise NotImplementedError

    def is_login(self, data: bytes, target: Target) -> bool:
        """Whether this is the message in which a client sends its password."""
        raise NotImplementedError

    def running(self, place: Any, target: Target) -> int:
        """How many sessions run `hanging` in the server; 0 where there is none."""
        return 0

    def schema_of(self, target: Target) -> str:
        return self.schema

    def quote(self, name: str) -> str:
        return self.quotes + name.replace(self.quotes, self.quotes * 2) + self.quotes

    def table(self, name: str, *columns: str) -> str:
        listed = ", ".join(f"{self.quote(column)} {self.column_type}" for column in columns)
        return f"create table {self.quote(name)} ({listed})"

    @pytest.fixture(scope="class")
    @classmethod
    def shop(cls, place: Any) -> Target:
        """Made once: nobody writes to it."""
        return place.new(*cls.script)

    @pytest.fixture
    def engine_of(self, place: Any, tmp_path: Path) -> Callable[[Target], Engine]:
        storage = open_storage(f"file://{tmp_path / 'storage'}")
        return lambda target: Engine(target, place.password, storage, policy=place.policy)

    def test_every_kind_is_what_was_made(self, shop: Target, engine_of: Any) -> None:
        snapshot = engine_of(shop).run()
        assert snapshot.manifest["status"] == self.ends, snapshot.manifest["denied"]
        found = {kind: rows_of(snapshot, kind) for kind in KINDS}
        for kind, rows in found.items():
            columns, expected = self.golden.get(kind, ("", []))
            picked = [tuple(_hashable(row[name]) for name in columns.split()) for row in rows]
            assert sorted(picked, key=repr) == sorted(expected, key=repr), kind
            keys = [[_null_last(row[name]) for name in KINDS[kind].key] for row in rows]
            assert keys == sorted(keys), kind

    def test_two_runs_give_the_same_digests(self, shop: Target, engine_of: Any) -> None:
        first = digests(engine_of(shop).run())
        assert first == digests(engine_of(shop).run())
        assert {kind for kind, _ in first} == {k for k in self.golden if k != "statistics"}

    def test_it_goes_on_wherever_it_was_interrupted(self, place: Any, engine_of: Any) -> None:
        """Each shard dies in the middle of each of its batches and after each of them."""
        target = place.new(*(self.table(f"t{n:03}", "id", "name") for n in range(MANY)))
        whole = engine_of(target).run()
        engine = _Recording(**vars(engine_of(target)))
        plan = engine.plan()
        ledgers = []
        for shard in plan.shards:
            done: list[int] = []
            attempt, left = 1, list(shard.numbers())
            for number in range(shard.batches):
                for middle in (True, False):
                    if middle and not shard.total:
                        continue  # batches of schemas do not tell of their middle
                    engine.read_first.clear()
                    with pytest.raises(Died):
                        engine.read(plan, shard.id, attempt, report=_dies(done, number, middle))
                    assert engine.batches(plan) == left[:1]
                    left = left if middle else left[1:]
                    attempt += 1
            engine.read_first.clear()
            ledgers.append(engine.read(plan, shard.id, attempt, report=_dies(done, -1, False)))
            assert engine.batches(plan) == []
            assert done == sorted(done) and done[-1] == shard.total
        finished = engine.finish(plan, ledgers)
        assert finished.counts["relations"] == MANY
        snapshot = open_snapshot(engine.storage, engine.run_id, finished.manifest)
        assert digests(snapshot) == digests(whole)

    def test_a_cancel_ends_a_hung_statement(self, place: Any, shop: Target, engine_of: Any) -> None:
        outcome: list[BaseException] = []
        with engine_of(shop).session() as session:

            def work() -> None:
                try:
                    session.fetch(self.hanging)
                except BaseException as error:
                    outcome.append(error)

            assert session.deadline is None
            thread = threading.Thread(target=work)
            thread.start()
            until(lambda: session.deadline is not None)
            assert 50 < session.deadline - time.time() <= 60
            started = time.monotonic()
            session.cancel()
            thread.join(5)
            assert time.monotonic() - started < 3
            assert [type(error) for error in outcome] == [Stopped]
            assert session.deadline is None
            for call in (session.begin, lambda: session.inventory("schemas")):
                with pytest.raises(Stopped):
                    call()
        assert self.running(place, shop) == 0

    @needs("refuses")
    def test_what_is_refused_is_named_and_its_grant_mends_it(
        self, place: Any, engine_of: Any
    ) -> None:
        target, password = self.refused(place)
        reader = replace(engine_of(target), password=password)
        refused = reader.run().manifest
        assert refused["status"] == "partial" and refused["denied"]
        assert all(d["reason"] and d["fix"] for d in refused["denied"])
        fixes = [fix for d in refused["denied"] for fix in d["fixes"]]
        place.execute(target, *dict.fromkeys(fixes))
        granted = replace(reader, run_id=str(uuid.uuid4())).run().manifest
        assert (granted["status"], granted["denied"]) == ("succeeded", [])

    @needs("logs_in")
    def test_a_wrong_password_is_tried_once(self, place: Any, shop: Target) -> None:
        with counted(shop, lambda data: self.is_login(data, shop)) as (port, logins):
            # A name with several addresses must not multiply the tries.
            through = replace(shop, host="localhost", port=port)
            wrong = Credentials(shop.username, WRONG)
            with pytest.raises(AuthenticationFailed) as caught:
                open_session(through, wrong, Options(), place.policy, "surveyor run 1 shard 2")
        assert len(logins) == 1
        assert caught.value.__cause__ is None and WRONG not in repr(caught.value.as_dict())

    def test_hostile_names_are_kept_and_lead_nowhere(
        self, place: Any, engine_of: Any, tmp_path: Path
    ) -> None:
        target = place.new(*(self.table(name, name, "x") for name in self.hostile))
        snapshot = engine_of(target).run()
        assert snapshot.manifest["status"] == self.ends
        found = [row["relation_name"] for row in rows_of(snapshot, "relations")]
        assert found == sorted(self.hostile)
        for name in self.hostile:
            relation = snapshot.relation(self.schema_of(target), name)
            assert relation is not None
            assert [column["column_name"] for column in relation["columns"]] == [name, "x"]
        assert [path.name for path in (tmp_path / "storage").iterdir()] == ["snapshots"]

    def test_what_vanishes_is_named_and_what_is_made_anew_is_read(
        self, place: Any, engine_of: Any
    ) -> None:
        target = place.new(*(self.table(name, "id") for name in ("a", "b", "c", "d")))
        engine = engine_of(target)
        plan = engine.plan()
        place.execute(
            target, "drop table a", "alter table b rename to bb", "drop table c",
            self.table("c", "x", "y"),
        )  # fmt: skip
        finished = engine.finish(plan, [engine.read(plan, shard.id) for shard in plan.shards])
        snapshot = open_snapshot(engine.storage, engine.run_id, finished.manifest)
        schema = self.schema_of(target)
        assert snapshot.manifest["vanished"] == [
            {"of": "relations", "schema": schema, "name": name} for name in ("a", "b")
        ]
        assert _columns(snapshot) == [("c", "x"), ("c", "y"), ("d", "id")]
        assert finished.status == self.ends

    def test_another_database_is_never_mixed_in(self, place: Any, engine_of: Any) -> None:
        one, other = (place.new(self.table("t", "id")) for _ in range(2))
        engine = engine_of(one)
        plan = engine.plan()
        with pytest.raises(SourceChanged):
            replace(engine, target=other).read(plan, plan.shards[-1].id)

    def test_a_source_that_holds_nothing_is_a_valid_snapshot(
        self, place: Any, engine_of: Any
    ) -> None:
        snapshot = engine_of(place.new(*self.emptying)).run()
        assert snapshot.manifest["status"] in ("succeeded", self.ends)
        counts = {kind: n for kind, n in snapshot.manifest["counts"].items() if kind != "schemas"}
        assert counts == dict.fromkeys([kind for kind in KINDS if kind != "schemas"], 0)

    @needs("zero_columns")
    def test_a_table_without_columns(self, place: Any, engine_of: Any) -> None:
        snapshot = engine_of(place.new(self.table("none"))).run()
        counts = snapshot.manifest["counts"]
        assert (counts["relations"], counts["columns"]) == (1, 0)

    def test_a_table_with_very_many_columns(self, place: Any, engine_of: Any) -> None:
        names = [f"c{n}" for n in range(self.most_columns)]
        snapshot = engine_of(place.new(self.table("wide", *names))).run()
        assert [name for _, name in _columns(snapshot)] == names

    @needs("long_comments")
    def test_a_long_comment_is_cut_and_marked(self, place: Any, engine_of: Any) -> None:
        comment = f"comment on table t is '{'ä' * 70_000}'"
        snapshot = engine_of(place.new(self.table("t", "id"), comment)).run()
        (row,) = rows_of(snapshot, "relations")
        assert row["comment"] == "ä" * 65_536 + " [cut]"

    def test_a_selection_reads_what_it_names(self, place: Any, engine_of: Any) -> None:
        target = place.new(*(self.table(name, "id") for name in ("a", "b")))
        schema = self.schema_of(target)
        snapshot = engine_of(target).run(Selection([f"{schema}.a"], [], ["relations", "columns"]))
        assert snapshot.manifest["counts"] == {"relations": 1, "columns": 1}
        assert _columns(snapshot) == [("a", "id")]


@dataclass
class _Recording(Engine):
    """Notes the first relation, or schema, of each batch that is read."""

    read_first: list[tuple[str, str]] = field(default_factory=list)

    def session(self, shard: int | str = "plan") -> Any:
        session: Any = super().session(shard)
        receive = session.receive

        def noted(kind: str, items: Any) -> Any:
            if kind in ("columns", "schemas"):  # what is read first
                self.read_first.append((items[0].schema, items[0].name))
            return receive(kind, items)

        session.receive = noted
        return session

    def batches(self, plan: Any) -> list[int]:
        """The numbers of what was read; batches of other sorts than these two are not seen."""
        first = {(b.items[0].schema, b.items[0].name): n for n, b in enumerate(plan.batches)}
        return [first[name] for name in self.read_first]


def _dies(done: list[int], number: int, middle: bool) -> Callable[[Advance], None]:
    """In the middle of a shard's batch, or when it is written."""

    def report(advance: Advance) -> None:
        done.append(advance.done)
        inside = advance.in_flight > 0 and advance.batch == number
        if inside if middle else (advance.new_entry and advance.batch == number + 1):
            raise Died

    return report


def _columns(snapshot: Snapshot) -> list[tuple[str, str]]:
    return [(r["relation_name"], r["column_name"]) for r in rows_of(snapshot, "columns")]


def _hashable(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _null_last(value: Any) -> tuple[bool, Any]:
    return (value is None, value if isinstance(value, int) else (value or "").encode())


def until(condition: Callable[[], Any], limit: float = 10) -> Any:
    end = time.monotonic() + limit
    while not (value := condition()):
        assert time.monotonic() < end, "it did not come true in time"
        time.sleep(0.02)
    return value


@contextmanager
def counted(target: Target, is_login: Callable[[bytes], bool]) -> Iterator[tuple[int, list[bytes]]]:
    """A port in front of the server, and the logins that went through it."""
    logins: list[bytes] = []
    listener = socket.create_server(("127.0.0.1", 0))

    def pump(source: socket.socket, sink: socket.socket, client: bool) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if client and is_login(data):
                    logins.append(data)
                sink.sendall(data)
        with suppress(OSError):
            sink.shutdown(socket.SHUT_WR)

    def accept() -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                server = socket.create_connection((target.host, target.port))
                for pair in ((client, server, True), (server, client, False)):
                    threading.Thread(target=pump, args=pair, daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield listener.getsockname()[1], logins
    finally:
        listener.close()
