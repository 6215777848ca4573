"""What may be typed for a connection, and the sentence for what may not."""

from __future__ import annotations

import pytest

from dashboard.forms import ConnectionForm, CredentialForm
from dashboard.models import Connection
from extraction.connection import Target

pytestmark = pytest.mark.django_db

GOOD = {
    "name": "hr-archive",
    "dialect": "postgresql",
    "host": "hr.internal",
    "port": 5432,
    "database": "hr",
    "username": "surveyor",
    "password": "a password",
}

# field, what is typed, a piece of the sentence
HOSTILE: list[tuple[str, object, str]] = [
    ("host", "postgresql://u:p@evil/db", "not a URL"),
    ("host", "evil?host=127.0.0.1", "not a host name"),
    ("host", "hr.internal,127.0.0.1", "comma"),
    ("host", "hr.internal 127.0.0.1", "space"),
    ("host", "user@evil", "without a @"),
    ("host", "p@ss@evil.example", "without a @"),
    ("host", "/var/run/postgresql", "socket"),
    ("host", "@abstract", "socket"),
    ("host", ".s.PGSQL.5432", "socket"),
    ("host", "a/../../etc/passwd", "slash"),
    ("host", "-h", "not a host name"),
    ("host", "--help", "not a host name"),
    ("host", "host.-x", "not a host name"),
    ("host", "evil:5432", "port in its own field"),
    ("host", "[::1]", "without brackets"),
    ("host", "[::1]:5432", "without brackets"),
    ("host", "fe80::1%eth0", "without a %"),
    ("host", "%2e%2e", "without a %"),
    ("host", "2130706433", "four numbers"),
    ("host", "0x7f000001", "four numbers"),
    ("host", "127.1", "four numbers"),
    ("host", "0177.0.0.1", "four numbers"),
    ("host", "1.2.3.4.5", "four numbers"),
    ("host", "localhost.", "not a host name"),
    ("host", "a..b", "not a host name"),
    ("host", "bücher.example", "ASCII form"),
    ("host", "ⓛocalhost", "ASCII form"),
    ("host", "evil\x00.internal", "visible characters"),
    ("host", "evil\n127.0.0.1", "visible characters"),
    ("host", "\u202elanretni.rh", "visible characters"),
    ("host", "x" * 64, "not a host name"),
    ("host", "a." * 127 + "aa", "253"),
    ("host", "hostaddr=127.0.0.1", "not a host name"),
    ("host", "a;b", "not a host name"),
    ("host", "$(id)", "not a host name"),
    ("host", {"host": "x"}, "must be text"),
    ("host", ["a", "b"], "must be text"),
    ("host", "", "needed"),
    ("host", "   ", "needed"),
    ("port", 0, "0 is not a port"),
    ("port", 70000, "70000 is not a port. A port lies between 1 and 65535"),
    ("port", -1, "-1 is not a port"),
    ("port", "5432;5433", "number from 1 to 65535"),
    ("port", "5432,5433", "number from 1 to 65535"),
    ("port", "0x1538", "number from 1 to 65535"),
    ("port", True, "number from 1 to 65535"),
    ("port", 5432.5, "number from 1 to 65535"),
    ("port", "", "needed"),
    ("database", "postgresql://evil/db", "no URL"),
    ("database", "dbname=x host=evil", "key=value"),
    ("database", "x\x00y", "visible characters"),
    ("database", "x\ny", "visible characters"),
    ("database", "d" * 129, "128"),
    ("username", "u\x00", "visible characters"),
    ("username", "u\rv", "visible characters"),
    ("username", "u" * 129, "128"),
    ("password", "nul\x00here", "NUL"),
    ("password", "********", "mask"),
    ("password", "p" * 1025, "1024"),
    ("password", 12345678, "must be text"),
    ("password", "", "A password is needed"),
    ("dialect", "postgresql+psycopg", "Write postgresql"),
    ("dialect", "sqlite+pysqlite", "Write sqlite"),
    ("dialect", "db2", "not served"),
    ("dialect", "redshift", "not served"),
    ("dialect", "PostgreSQL", "not served"),
    ("tls", "prefer", "nothing in between"),
    ("tls", "allow", "nothing in between"),
    ("tls", "verify-ca", "nothing in between"),
    ("name", "", "needed"),
    ("name", "a\u200bb", "visible characters"),
    ("name", "\u3164", "visible characters"),
    ("name", "evil\u202etxt", "visible characters"),
    ("name", "n" * 81, "80"),
    ("name", "3f0c2a52-3c2b-4f6e-9a51-0d6c6a2f4b11", "looks like an id"),
    ("owner", "a\x1b[31mred", "visible characters"),
    ("tags", ["ok", "a\nb"], "visible characters"),
    ("tags", ["t"] * 3 + [f"t{i}" for i in range(20)], "At most 20"),
    ("tags", [{"a": 1}], "list of texts"),
]


def form(instance: Connection | None = None, **values: object) -> ConnectionForm:
    return ConnectionForm.from_api({**GOOD, **values}, instance)


def messages(bound: ConnectionForm, field: str) -> str:
    bound.is_valid()
    return " ".join(e["message"] for e in bound.errors.get_json_data().get(field, []))


@pytest.mark.parametrize(("field", "value", "sentence"), HOSTILE)
def test_it_refuses_what_a_driver_could_read_as_something_else(field, value, sentence):
    bound = form(**{field: value})
    assert not bound.is_valid()
    assert sentence in messages(bound, field)
    assert set(bound.errors) == {field}


@pytest.mark.parametrize(
    "key",
    [
        *("url", "dsn", "service", "passfile", "sslkey", "credential_path", "query"),
        *("hostaddr", "driver", "id", "credential_version"),
    ],
)
def test_it_names_a_field_that_a_connection_does_not_have(key):
    assert messages(form(**{key: "x"}), key) == f"{key} is not a field of a connection."


@pytest.mark.parametrize(
    "key", ["host", "options", "local_infile", "unix_socket", "sslrootcert", "plugin", "password"]
)
def test_it_names_an_option_that_is_not_on_the_list(key):
    bound = form(options={key: "x"})
    assert messages(bound, f"options.{key}").startswith(f"options.{key} is not an option.")
    assert bound.data["host"] == GOOD["host"]


@pytest.mark.parametrize("options", ["-c search_path=x", ["pace"], 7])
def test_it_refuses_options_that_are_no_object(options):
    assert messages(form(options=options), "options") == "options must be an object."


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"sessions": 0}, "At least 1."),
        ({"sessions": 33}, "At most 32."),
        ({"sessions": "many"}, "whole number"),
        ({"pace": -1}, "At least 0."),
        ({"pace": "nan"}, "number"),
        ({"pace": float("inf")}, "number"),
        ({"statement_timeout": 0}, "At least 1."),
        ({"statement_timeout": 99999}, "At most 3600."),
        ({"lock_timeout": 0}, "At least 0.1."),
        ({"lock_timeout": [2]}, "number"),
    ],
)
def test_it_refuses_limits_that_are_out_of_bounds(options, sentence):
    (name,) = options
    assert sentence in messages(form(options=options), name)


@pytest.mark.parametrize(
    "host",
    ["hr.internal", "hr_archive.db-1", "10.20.9.31", "::1", "2001:db8::5", "xn--bcher-kva.de"],
)
def test_it_takes_one_name_or_one_address(host):
    bound = form(host=host)
    assert bound.is_valid(), bound.errors
    assert bound.target.host == host


def test_a_valid_form_gives_a_target_and_limits():
    bound = form(
        options={"pace": 0.25, "sessions": "4"}, tags=["pii", "pii", " hr "], owner=" team "
    )
    assert bound.is_valid(), bound.errors
    assert bound.target == Target(
        "postgresql", "hr.internal", 5432, "hr", "surveyor", "verify-full"
    )
    assert bound.limits == {
        "sessions": 4,
        "pace": 0.25,
        "statement_timeout": 60.0,
        "lock_timeout": 2.0,
        "connect_timeout": 5.0,
        "hours": "",
        "days": "",
        "timezone": "UTC",
    }
    saved = bound.save(commit=False)
    assert (saved.tags, saved.owner, saved.options) == (["pii", "hr"], "team", bound.limits)


def test_the_page_gives_the_same_as_the_api():
    page = ConnectionForm({**GOOD, "port": "5432", "tags": "pii, hr", "pace": ""})
    assert page.is_valid(), page.errors
    assert page.target == form_target()
    assert page.cleaned_data["tags"] == ["pii", "hr"]
    assert page.limits["pace"] == 0.0


def form_target() -> Target:
    bound = form()
    assert bound.is_valid()
    return bound.target


@pytest.mark.parametrize(
    ("host", "tls"),
    [
        ("hr.internal", "verify-full"),
        ("10.0.0.1", "verify-full"),
        ("localhost", "disable"),
        ("127.0.0.1", "disable"),
        ("127.8.9.1", "disable"),
        ("::1", "disable"),
        ("localhost.evil.example", "verify-full"),
    ],
)
def test_tls_is_verified_unless_the_host_is_this_machine(host, tls):
    bound = form(host=host)
    assert bound.is_valid(), bound.errors
    assert bound.target.tls == tls


def test_tls_may_be_said_among_the_options():
    bound = form(options={"tls": "require"})
    assert bound.is_valid(), bound.errors
    assert bound.target.tls == "require"


def test_passwords_keep_their_spaces():
    bound = form(password="  spaces stay ")
    assert bound.is_valid()
    assert bound.cleaned_data["password"] == "  spaces stay "


def test_an_invalid_form_is_drawn_without_the_password():
    drawn = ConnectionForm({**GOOD, "port": "70000", "password": "canary-5f1c"}).as_p()
    assert "70000" in drawn
    assert "canary-5f1c" not in drawn
    assert 'autocomplete="new-password"' in drawn


def test_a_bare_save_is_refused_because_it_would_leave_the_secret_behind():
    bound = form()
    assert bound.is_valid()
    with pytest.raises(TypeError, match="verbs"):
        bound.save(commit=True)


@pytest.fixture
def stored() -> Connection:
    return Connection.objects.create(
        name="hr-archive",
        host="hr.internal",
        port=5432,
        database="hr",
        username="surveyor",
        options={"sessions": 2, "pace": 1.5, "statement_timeout": 30.0, "lock_timeout": 1.0},
        owner="team",
        tags=["pii"],
        credential_path="connections/x",
        credential_version=1,
    )


@pytest.mark.parametrize("name", ["hr-archive", "HR-Archive", " hr-archive "])
def test_a_name_is_taken_once_whatever_its_case(stored, name):
    assert messages(form(name=name), "name").startswith("There is a connection named")


def test_case_is_folded_beyond_ascii(stored):
    Connection.objects.filter(pk=stored.pk).update(name="Straße")
    assert "already" in messages(form(name="STRASSE"), "name")


def test_a_connection_keeps_its_own_name(stored):
    bound = ConnectionForm.from_api({"owner": "others"}, stored)
    assert bound.is_valid(), bound.errors


def test_a_patch_keeps_what_it_leaves_out(stored):
    bound = ConnectionForm.from_api({"owner": "others", "options": {"pace": 0}}, stored)
    assert bound.is_valid(), bound.errors
    saved = bound.save()
    assert saved.owner == "others"
    assert saved.tags == ["pii"]
    assert saved.options == {
        "sessions": 2,
        "pace": 0.0,
        "statement_timeout": 30.0,
        "lock_timeout": 1.0,
        "connect_timeout": 5.0,
        "hours": "",
        "days": "",
        "timezone": "UTC",
    }


def test_a_page_without_a_field_keeps_its_value_and_an_emptied_one_gets_the_default(stored):
    page = {n: v for n, v in GOOD.items() if n != "password"}
    bound = ConnectionForm({**page, "tls": "verify-full", "pace": ""}, instance=stored)
    assert bound.is_valid(), bound.errors
    assert (bound.limits["pace"], bound.limits["statement_timeout"]) == (0.0, 30.0)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("host", "evil.example"),
        ("port", 5433),
        ("database", "other"),
        ("username", "root"),
        ("tls", "disable"),
    ],
)
def test_a_changed_target_asks_for_the_password_again(stored, field, value):
    without = ConnectionForm.from_api({field: value}, stored)
    assert "Enter the password again" in messages(without, "password")
    fresh = Connection.objects.get(pk=stored.pk)
    given = ConnectionForm.from_api({field: value, "password": "typed again"}, fresh)
    assert given.is_valid(), given.errors


def test_what_is_no_target_needs_no_password(stored):
    bound = ConnectionForm.from_api({"name": "other", "options": {"sessions": 5}}, stored)
    assert bound.is_valid(), bound.errors


def test_a_credential_keeps_the_user_unless_another_is_given(stored):
    kept = CredentialForm({"password": "new"}, connection=stored)
    assert kept.is_valid()
    assert kept.cleaned_data == {"username": "surveyor", "password": "new"}
    other = CredentialForm({"username": "reader", "password": "new"}, connection=stored)
    assert other.is_valid()
    assert other.cleaned_data["username"] == "reader"


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"password": ""}, "password"),
        ({"password": "a\x00b"}, "password"),
        ({"username": "a\x00b", "password": "new"}, "username"),
    ],
)
def test_a_credential_refuses(stored, values, field):
    bound = CredentialForm(values, connection=stored)
    assert not bound.is_valid()
    assert set(bound.errors) == {field}


FILE = {"name": "shop", "dialect": "sqlite", "database": "sub/shop=1.db"}


@pytest.fixture
def stored_file() -> Connection:
    return Connection.objects.create(
        name="shop",
        dialect="sqlite",
        host="",
        port=0,
        database="shop.db",
        username="",
        tls="",
        credential_path="connections/y",
        credential_version=1,
    )


def test_a_file_needs_a_path_and_nothing_else():
    bound = ConnectionForm.from_api(FILE)
    assert bound.is_valid(), bound.errors
    assert bound.target == Target("sqlite", "", 0, "sub/shop=1.db", "", "")
    assert bound.new_secret


def test_a_page_without_script_sends_fields_that_a_file_does_not_have():
    """Port and TLS are the page's own and are ignored; what somebody typed is refused."""
    sent = {
        **FILE,
        "host": "",
        "port": "5432",
        "tls": "verify-full",
        "username": "",
        "password": "",
    }
    bound = ConnectionForm(sent)
    assert bound.is_valid(), bound.errors
    assert bound.target == Target("sqlite", "", 0, "sub/shop=1.db", "", "")
    assert ConnectionForm({**sent, "port": "70000"}).is_valid()


@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("host", "db.example", "SQLite has no host: leave it empty."),
        ("username", "surveyor", "SQLite has no user: leave it empty."),
        ("password", "canary-81c0", "SQLite has no password: leave it empty."),
        ("database", "", "needed"),
        ("database", "/etc/passwd", "absolute"),
        ("database", "../shop.db", "with .."),
        ("database", "file:shop.db?mode=rw", "not a URL"),
        ("database", ":memory:", "special name"),
        ("database", "a\\b.db", "backslash"),
        ("database", "d" * 129, "128"),
    ],
)
def test_a_file_refuses_at_the_field(field, value, sentence):
    bound = ConnectionForm.from_api({**FILE, field: value})
    assert not bound.is_valid()
    assert set(bound.errors) == {field}
    assert sentence in messages(bound, field)


def test_a_server_becomes_a_file_and_a_file_a_server(stored, stored_file):
    patch = {"dialect": "sqlite", "database": "hr.db"}
    file = ConnectionForm.from_api(patch, stored)
    assert file.is_valid(), file.errors
    assert file.target == Target("sqlite", "", 0, "hr.db", "", "")
    assert file.new_secret
    server = ConnectionForm.from_api({"dialect": "postgresql", "database": "hr"}, stored_file)
    assert not server.is_valid()
    assert set(server.errors) == {"host", "username", "password"}
    whole = {"dialect": "postgresql", "database": "hr", "host": "h.example", "username": "u"}
    whole = ConnectionForm.from_api({**whole, "password": "p"}, stored_file)
    assert whole.is_valid(), whole.errors
    assert (whole.target.port, whole.target.tls) == (5432, "verify-full")


def test_a_file_keeps_its_secret_unless_its_path_changes(stored_file):
    kept = ConnectionForm.from_api({"owner": "team"}, stored_file)
    assert kept.is_valid(), kept.errors
    assert not kept.new_secret
    moved = ConnectionForm.from_api({"database": "b.db"}, stored_file)
    assert moved.is_valid(), moved.errors
    assert moved.new_secret


def test_each_kind_says_what_it_was_tested_against_and_which_fields_it_has():
    drawn = str(ConnectionForm()["dialect"])
    assert 'value="sqlite" data-fields="database" data-port="">SQLite (tested with 3.40)' in drawn
    assert "PostgreSQL (tested with 15 and 18)" in drawn
    assert "Oracle (not tested here)" in drawn
    help_text = str(ConnectionForm()["database"].help_text)
    assert "SQLite, DuckDB: its path" in help_text and "Oracle: the service name." in help_text


def test_a_port_is_that_of_its_kind_where_none_is_sent():
    whole = {"name": "x", "dialect": "oracle", "host": "o.example", "database": "ORCL"}
    bound = ConnectionForm.from_api({**whole, "username": "u", "password": "p"})
    assert bound.is_valid(), bound.errors
    assert bound.target == Target("oracle", "o.example", 1521, "ORCL", "u", "")
    typed = ConnectionForm.from_api({**whole, "username": "u", "password": "p", "port": 0})
    assert "Oracle's own is 1521" in messages(typed, "port")


def test_a_password_may_be_left_out_where_a_kind_says_so():
    whole = {"name": "x", "dialect": "trino", "host": "t.example", "database": "hive"}
    bound = ConnectionForm.from_api({**whole, "username": "u"})
    assert bound.is_valid(), bound.errors
    assert bound.new_secret
    service = ConnectionForm.from_api({"name": "y", "dialect": "bigquery", "database": "project"})
    assert service.is_valid(), service.errors


def test_a_kind_without_a_user_takes_a_password():
    sent = {"name": "x", "dialect": "databricks", "host": "dbc.example", "database": "/sql"}
    bound = ConnectionForm({**sent, "port": "443", "password": "token"})
    assert bound.is_valid(), bound.errors
    assert "password" in ConnectionForm({**sent, "port": "443"}).errors


@pytest.mark.parametrize("dialect", ["mysql", "mariadb"])
def test_a_schema_may_be_left_out_where_all_can_be_read(dialect):
    whole = {"name": "x", "dialect": dialect, "host": "m.example", "username": "u"}
    bound = ConnectionForm.from_api({**whole, "password": "p"})
    assert bound.is_valid(), bound.errors
    assert bound.target == Target(dialect, "m.example", 3306, "", "u", "verify-full")
