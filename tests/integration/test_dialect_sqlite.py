"""SQLite passes the suite of all dialects; what is SQLite's own stands beside it."""

from __future__ import annotations

import os
import sqlite3
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from extraction.check import check
from extraction.connection import AddressPolicy, Credentials, Options, Target, open_session
from extraction.errors import (
    FileRefused,
    NoSuchDatabase,
    SourceChanged,
    SourceLocked,
    SourceTimeout,
    SurveyorError,
)
from extraction.storage import open_storage
from tests.extraction.engine import Engine, rows_of
from tests.integration.dialects import DialectContract

pytestmark = pytest.mark.integration


class FilePlace:
    """Databases that are files of one directory."""

    password = ""

    def __init__(self, dialect: str, connect: Any, root: Path) -> None:
        self.dialect, self.connect, self.root = dialect, connect, root
        self.policy = AddressPolicy(files=root)

    @classmethod
    def fixture(cls, dialect: str, connect: Any) -> Any:
        """The place of a class of tests."""

        @pytest.fixture(scope="class")
        @classmethod
        def place(_: Any, tmp_path_factory: Any) -> FilePlace:
            return cls(dialect, connect, tmp_path_factory.mktemp("files"))

        return place

    def new(self, *statements: str) -> Target:
        target = Target(self.dialect, "", 0, f"{uuid.uuid4().hex}.db", "", "")
        self.execute(target, *statements)
        return target

    def execute(self, target: Target, *statements: str) -> None:
        connection = self.connect(str(self.root / target.database))
        for statement in statements:
            connection.execute(statement)
        connection.commit()
        connection.close()


HANGING = "with recursive n(i) as (select 1 union all select i + 1 from n) select count(*) from n"


class TestSQLite(DialectContract):
    most_columns = 2000
    hanging = HANGING
    script = (
        """create table artist (id integer primary key autoincrement, name varchar(40) not null
             collate nocase default 'x', born date, "odd ""name" blob, loud text collate RTRIM,
             upper_name text generated always as (upper(name)) stored, twice as (id * 2))""",
        """create table "Album" (artist int not null references ARTIST on delete cascade
             on update set null deferrable initially deferred, title text, year decimal(4,0)
             check (year > 1900 and title <> 'check (me)'), constraint one_title
             unique (title, artist), primary key (artist, title),
             constraint "later ""one" check (length(title) > 0))""",
        """create table tag (k text, v any, album_artist int, album_title text,
             primary key (v, k), constraint of_album foreign key (album_artist, album_title)
             references album (ARTIST, Title)) without rowid""",
        "create table strict_one (id int primary key, n real, parent int references strict_one,"
        " also int references artist (id)) strict",
        "create table desc_key (id integer primary key desc)",
        "create table plain (x, y point)",
        "create virtual table words using fts5(body, tokenize = 'unicode61')",
        "create view recent as select id, name from artist where born > '2026-01-01'",
        "create unique index by_name on artist (name desc, born) where born is not null",
        'create index odd on artist (lower(name) desc, "odd ""name" collate nocase)',
        """create trigger noted after update of name, born on artist when new.name <> old.name
             begin insert into plain values (1, 2); end""",
        "create trigger if not exists instead instead of insert on recent begin select 1; end",
        "create trigger unsaid delete on plain begin select 1; end",
        "insert into plain values (1, 2), (3, 4)",
        "analyze",
    )
    golden = {
        "schemas": ("schema_name owner", [("main", None)]),
        "relations": ("relation_name kind definition", [
            ("artist", "table", None), ("Album", "table", None), ("tag", "table", None),
            ("strict_one", "table", None), ("desc_key", "table", None), ("plain", "table", None),
            ("words", "virtual_table", None), *((f"words_{n}", "shadow_table", None)
              for n in ("config", "content", "data", "docsize", "idx")),
            ("recent", "view", "CREATE VIEW recent as select id, name from artist "
             "where born > '2026-01-01'"),
        ]),
        "columns": ("relation_name position column_name data_type logical_type nullable default"
                    " identity generated collation", [
            ("artist", 1, "id", "INTEGER", "integer", False, None, "BY DEFAULT", None, None),
            ("artist", 2, "name", "varchar(40)", "string", False, "'x'", None, None, "nocase"),
            ("artist", 3, "born", "date", "date", True, None, None, None, None),
            ("artist", 4, 'odd "name', "BLOB", "binary", True, None, None, None, None),
            ("artist", 5, "loud", "TEXT", "string", True, None, None, None, "RTRIM"),
            ("artist", 6, "upper_name", "TEXT", "string", True, "upper(name)", None, "STORED", None),
            ("artist", 7, "twice", "", "other", True, "id * 2", None, "VIRTUAL", None),
            ("Album", 1, "artist", "INT", "integer", False, None, None, None, None),
            ("Album", 2, "title", "TEXT", "string", True, None, None, None, None),
            ("Album", 3, "year", "decimal(4,0)", "decimal", True, None, None, None, None),
            ("tag", 1, "k", "TEXT", "string", False, None, None, None, None),
            ("tag", 2, "v", "ANY", "other", False, None, None, None, None),
            ("tag", 3, "album_artist", "INT", "integer", True, None, None, None, None),
            ("tag", 4, "album_title", "TEXT", "string", True, None, None, None, None),
            ("strict_one", 1, "id", "INT", "integer", False, None, None, None, None),
            ("strict_one", 2, "n", "REAL", "float", True, None, None, None, None),
            ("strict_one", 3, "parent", "INT", "integer", True, None, None, None, None),
            ("strict_one", 4, "also", "INT", "integer", True, None, None, None, None),
            ("desc_key", 1, "id", "INTEGER", "integer", True, None, None, None, None),
            ("plain", 1, "x", "", "other", True, None, None, None, None),
            ("plain", 2, "y", "point", "geometry", True, None, None, None, None),
            ("words", 1, "body", "", "other", True, None, None, None, None),
            ("words", 2, "words", "", "other", True, None, None, None, None),
            ("words", 3, "rank", "", "other", True, None, None, None, None),
            ("words_config", 1, "k", "", "other", False, None, None, None, None),
            ("words_config", 2, "v", "", "other", True, None, None, None, None),
            ("words_content", 1, "id", "INTEGER", "integer", False, None, "BY DEFAULT", None, None),
            ("words_content", 2, "c0", "", "other", True, None, None, None, None),
            ("words_data", 1, "id", "INTEGER", "integer", False, None, "BY DEFAULT", None, None),
            ("words_data", 2, "block", "BLOB", "binary", True, None, None, None, None),
            ("words_docsize", 1, "id", "INTEGER", "integer", False, None, "BY DEFAULT", None, None),
            ("words_docsize", 2, "sz", "BLOB", "binary", True, None, None, None, None),
            ("words_idx", 1, "segid", "", "other", False, None, None, None, None),
            ("words_idx", 2, "term", "", "other", False, None, None, None, None),
            ("words_idx", 3, "pgno", "", "other", True, None, None, None, None),
            ("recent", 1, "id", "INTEGER", "integer", True, None, None, None, None),
            ("recent", 2, "name", "varchar(40)", "string", True, None, None, None, None),
        ]),
        "constraints": ("relation_name constraint_name kind columns referenced_relation"
                        " referenced_columns on_update on_delete definition", [
            ("artist", "artist_pkey", "primary_key", ("id",), None, (), None, None,
             "PRIMARY KEY (id)"),
            ("Album", "Album_pkey", "primary_key", ("artist", "title"), None, (), None, None,
             "PRIMARY KEY (artist, title)"),
            ("Album", "one_title", "unique", ("title", "artist"), None, (), None, None,
             "UNIQUE (title, artist)"),
            ("Album", "Album_artist_fkey", "foreign_key", ("artist",), "artist", ("id",),
             "SET NULL", "CASCADE", "FOREIGN KEY (artist) REFERENCES artist(id) ON UPDATE SET NULL"
             " ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED"),
            ("Album", "Album_check", "check", ("title", "year"), None, (), None, None,
             "CHECK (year > 1900 and title <> 'check (me)')"),
            ("Album", 'later "one', "check", ("title",), None, (), None, None,
             "CHECK (length(title) > 0)"),
            ("tag", "tag_pkey", "primary_key", ("v", "k"), None, (), None, None,
             "PRIMARY KEY (v, k)"),
            ("tag", "of_album", "foreign_key", ("album_artist", "album_title"), "Album",
             ("artist", "title"), "NO ACTION", "NO ACTION",
             "FOREIGN KEY (album_artist, album_title) REFERENCES Album(artist, title)"),
            ("strict_one", "strict_one_pkey", "primary_key", ("id",), None, (), None, None,
             "PRIMARY KEY (id)"),
            ("strict_one", "strict_one_parent_fkey", "foreign_key", ("parent",), "strict_one",
             ("id",), "NO ACTION", "NO ACTION",
             "FOREIGN KEY (parent) REFERENCES strict_one(id)"),
            ("strict_one", "strict_one_also_fkey", "foreign_key", ("also",), "artist", ("id",),
             "NO ACTION", "NO ACTION", "FOREIGN KEY (also) REFERENCES artist(id)"),
            ("desc_key", "desc_key_pkey", "primary_key", ("id",), None, (), None, None,
             "PRIMARY KEY (id)"),
            *((f"words_{n}", f"words_{n}_pkey", "primary_key", key, None, (), None, None,
               f"PRIMARY KEY ({', '.join(key)})")
              for n, key in {"config": ("k",), "content": ("id",), "data": ("id",),
                             "docsize": ("id",), "idx": ("segid", "term")}.items()),
        ]),
        "indexes": ("relation_name index_name columns unique method predicate", [
            ("artist", "by_name", ("name", "born"), True, "btree", "born is not null"),
            ("artist", "odd", ("lower(name)", 'odd "name'), False, "btree", None),
            ("Album", "sqlite_autoindex_Album_1", ("title", "artist"), True, "btree", None),
            ("Album", "sqlite_autoindex_Album_2", ("artist", "title"), True, "btree", None),
            ("strict_one", "sqlite_autoindex_strict_one_1", ("id",), True, "btree", None),
            ("desc_key", "sqlite_autoindex_desc_key_1", ("id",), True, "btree", None),
        ]),
        "triggers": ("relation_name trigger_name timing events enabled", [
            ("artist", "noted", "AFTER", ("UPDATE",), "origin"),
            ("recent", "instead", "INSTEAD OF", ("INSERT",), "origin"),
            ("plain", "unsaid", "BEFORE", ("DELETE",), "origin"),
        ]),
        "dependencies": ("relation_name referenced_schema referenced_relation referenced_column found_by", [
            ("recent", "main", "artist", column, "parsed") for column in ("id", "name", "born")
        ]),
        "statistics": ("relation_name row_estimate", [
            ("plain", 2), *((name, None) for name in ("artist", "Album", "tag", "strict_one",
              "desc_key", "words", "words_content", "words_docsize")),
            ("words_config", 1), ("words_data", 2), ("words_idx", None),
        ]),
    }  # fmt: skip

    place = FilePlace.fixture("sqlite", sqlite3.connect)


@pytest.fixture
def place(tmp_path: Path) -> FilePlace:
    (tmp_path / "files").mkdir()
    return FilePlace("sqlite", sqlite3.connect, tmp_path / "files")


def engine_for(place: FilePlace, target: Target, tmp_path: Path) -> Engine:
    storage = open_storage(f"file://{tmp_path / 'storage'}")
    return Engine(target, "", storage, policy=place.policy)


def named(database: str) -> Target:
    return Target("sqlite", "", 0, database, "", "")


@pytest.mark.parametrize(
    ("database", "error", "said"),
    [
        ("/etc/passwd", FileRefused, "absolute"),
        ("../shop.db", FileRefused, r"\.\."),
        ("sub/../../outside.db", FileRefused, r"\.\."),
        ("", FileRefused, "missing"),
        (".", FileRefused, "missing"),
        ("sub", FileRefused, "regular file"),
        ("pipe", FileRefused, "regular file"),
        ("out.db", FileRefused, "leads out"),
        ("outdir/outside.db", FileRefused, "leads out"),
        ("loop.db", NoSuchDatabase, "no file"),
        ("absent.db", NoSuchDatabase, "no file"),
        (":memory:", FileRefused, "special name"),
        ("file:shop.db?mode=rwc", FileRefused, "URL"),
        ("sqlite:///shop.db", FileRefused, "URL"),
        ("shop.db?mode=rwc", NoSuchDatabase, "no file"),
        ("shop.db\0x", FileRefused, "NUL"),
        ("text.db", FileRefused, "not a SQLite database"),
    ],
)
def test_only_a_database_below_the_directory_is_opened(
    place: FilePlace, tmp_path: Path, database: str, error: type[SurveyorError], said: str
) -> None:
    root = place.root
    place.connect(root / "shop.db").execute("create table t (id)")
    place.connect(tmp_path / "outside.db").execute("create table secret (id)")
    (root / "sub").mkdir()
    (root / "text.db").write_text("root:x:0:0:root:/root:/bin/bash\n" * 100)
    (root / "out.db").symlink_to(tmp_path / "outside.db")
    (root / "outdir").symlink_to(tmp_path)
    (root / "loop.db").symlink_to(root / "loop.db")
    os.mkfifo(root / "pipe")
    before = sorted(root.iterdir())
    for attempt in (tried, opened):
        with pytest.raises(error, match=said) as caught:
            attempt(place, named(database))
        assert caught.value.fix and "root:x" not in repr(caught.value.as_dict())
    assert sorted(root.iterdir()) == before


def opened(place: FilePlace, target: Target) -> None:
    open_session(target, Credentials("", ""), Options(), place.policy, "label").close()


def tried(place: FilePlace, target: Target) -> None:
    """A check says what opening says."""
    report = check(target, lambda: Credentials("", ""), Options(), place.policy)
    last = report.steps[-1]
    assert not report.ok and (last.name in ("file", "open"))
    raise (
        NoSuchDatabase(last.detail, last.fix)
        if "no file" in last.detail
        else FileRefused(last.detail, last.fix)
    )


def test_names_that_a_url_would_read_otherwise_are_files(place: FilePlace, tmp_path: Path) -> None:
    (place.root / "sub dir").mkdir()
    for name in ("a?mode=rw.db", "50%25.db", "a#b.db", "sub dir/ünï&x=1.db", "link.db"):
        if name == "link.db":
            (place.root / name).symlink_to(place.root / "a#b.db")
        else:
            place.execute(named(name), "create table t (id int)")
        snapshot = engine_for(place, named(name), tmp_path).run()
        assert snapshot.manifest["counts"]["relations"] == 1


def test_without_a_directory_no_file_is_read(place: FilePlace) -> None:
    target = place.new("create table t (id int)")
    with pytest.raises(FileRefused, match="read no files") as caught:
        open_session(target, Credentials("", ""), Options(), AddressPolicy(), "label")
    assert "SOURCE_FILES" in caught.value.fix


def test_a_check_climbs_the_steps_of_a_file(place: FilePlace) -> None:
    target = place.new("create table t (id int)")
    report = check(target, lambda: Credentials("", ""), Options(), place.policy)
    assert [(step.name, step.ok) for step in report.steps] == [
        (name, True) for name in ("file", "open", "version", "catalogue")
    ]
    assert report.server_version == sqlite3.sqlite_version
    assert report.steps[-1].detail == "1 relations in 1 schemas can be read."


def test_nothing_can_be_written(place: FilePlace, tmp_path: Path) -> None:
    target = place.new("create table t (id int)")
    before = (place.root / target.database).read_bytes()
    with engine_for(place, target, tmp_path).session() as session:
        for statement in (
            "create table x (id)",
            "insert into t values (1)",
            "pragma user_version = 7",
            f"attach '{tmp_path / 'other.db'}' as other",
            "select load_extension('x')",
            "select writefile('x', 'y')",
        ):
            with pytest.raises(SurveyorError):
                session.fetch(statement)
    assert (place.root / target.database).read_bytes() == before
    assert not (tmp_path / "other.db").exists()


def test_a_broken_view_costs_its_own_columns_alone(place: FilePlace, tmp_path: Path) -> None:
    target = place.new(
        *(f"create table t{n} (id int)" for n in range(9)),
        "create view fine as select id from t1",
        "create view broken as select id from t2",
        "drop table t2",
    )
    manifest = engine_for(place, target, tmp_path).run().manifest
    assert manifest["status"] == "partial"
    (errored,) = manifest["errored"]
    assert (errored["kind"], errored["name"]) == ("columns", "broken")
    assert "no such table: main.t2" in errored["reason"]
    assert (manifest["counts"]["relations"], manifest["counts"]["columns"]) == (10, 9)


def test_bytes_that_are_no_text_are_escaped(place: FilePlace, tmp_path: Path) -> None:
    target = place.new()
    # Python's module sends text as UTF-8 only; the schema is written as bytes.
    connection = sqlite3.connect(place.root / target.database)
    connection.execute("create table cafX (yZ int default 'W')")
    connection.execute('create table "schön" (id)')
    connection.execute("create index byX on cafX (yZ)")
    connection.execute("pragma writable_schema = on")
    for old, new in ((b"cafX", b"caf\xe9"), (b"byX", b"by\xe9"), (b"yZ", b"y\xff")):
        connection.execute(
            "update sqlite_schema set name = cast(replace(name, cast(? as text), cast(? as text))"
            " as text), tbl_name = replace(tbl_name, cast(? as text), cast(? as text)),"
            " sql = replace(sql, cast(? as text), cast(? as text))",
            (old, new) * 3,
        )
    connection.commit()
    connection.close()
    snapshot = engine_for(place, target, tmp_path).run()
    assert snapshot.manifest["status"] == "succeeded"
    names = [row["relation_name"] for row in rows_of(snapshot, "relations")]
    assert names == ["caf\\xe9", "schön"]
    columns = [(r["relation_name"], r["column_name"]) for r in rows_of(snapshot, "columns")]
    assert columns == [("caf\\xe9", "y\\xff"), ("schön", "id")]
    (index,) = rows_of(snapshot, "indexes")
    assert (index["index_name"], index["columns"]) == ("by\\xe9", ["y\\xff"])


def test_a_locked_file_is_waited_for_no_longer_than_the_limit(
    place: FilePlace, tmp_path: Path
) -> None:
    target = place.new("create table t (id int)")
    engine = engine_for(place, target, tmp_path)
    quick = replace(engine, options=Options(lock_timeout=0.2))
    writer = sqlite3.connect(place.root / target.database)
    writer.execute("begin exclusive")
    with pytest.raises(SourceLocked):
        quick.plan()
    writer.rollback()
    writer.close()
    assert quick.run().manifest["status"] == "succeeded"


def test_a_statement_has_a_deadline(place: FilePlace, tmp_path: Path) -> None:
    target = place.new("create table t (id int)")
    engine = engine_for(place, target, tmp_path)
    with replace(engine, options=Options(statement_timeout=0.3)).session() as session:
        with pytest.raises(SourceTimeout):
            session.fetch(HANGING)
        session.begin()
        assert session.inventory("relations")


def test_a_file_that_is_written_in_wal_mode_is_read(place: FilePlace, tmp_path: Path) -> None:
    target = place.new()
    writer = sqlite3.connect(place.root / target.database)
    writer.execute("pragma journal_mode = wal")
    writer.execute("create table t (id int)")
    writer.commit()
    with engine_for(place, target, tmp_path).session() as session:
        session.begin()
        assert [item.name for item in session.inventory("relations")] == ["t"]
        writer.execute("create table later (id int)")
        writer.commit()
        assert [item.name for item in session.inventory("relations")] == ["t"]
        session.begin()
        assert [item.name for item in session.inventory("relations")] == ["later", "t"]
    writer.close()


def test_another_file_of_the_same_name_is_another_database(
    place: FilePlace, tmp_path: Path
) -> None:
    target, other = (place.new("create table t (id int)") for _ in range(2))
    engine = engine_for(place, target, tmp_path)
    plan = engine.plan()
    place.execute(target, "create table more (id int)", "insert into t values (1)")
    engine.read(plan, plan.shards[-1].id)
    (place.root / other.database).replace(place.root / target.database)
    with pytest.raises(SourceChanged):
        engine.read(plan, plan.shards[-1].id)
