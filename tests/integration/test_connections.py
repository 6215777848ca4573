"""Connections against a real Vault: the row is the switch, and nothing is half-saved."""

from __future__ import annotations

import socket
import time
import uuid
from datetime import timedelta

import pytest
from django.utils import timezone

from dashboard import audit, connections
from dashboard.connections import (
    ConnectionBusy,
    ConnectionChanged,
    ConnectionGone,
    NameTaken,
    NoCredential,
    TooManyChecks,
    Unavailable,
)
from dashboard.forms import ConnectionForm
from dashboard.models import AuditEntry, Connection, Run, StraySecret
from extraction.errors import CredentialRefused
from extraction.vault import Vault, credentials_from

pytestmark = [pytest.mark.integration, pytest.mark.django_db(transaction=True)]

PASSWORD = "first password"


@pytest.fixture(autouse=True)
def configured(settings, vault):
    settings.ENV = settings.ENV.model_copy(
        update={
            "vault_addr": vault.addr,
            "vault_mount": vault.mount,
            "vault_role_id": vault.dashboard.role_id,
            "vault_secret_id_file": vault.dashboard.secret_id_file,
        }
    )


@pytest.fixture
def worker(vault) -> Vault:
    return Vault(vault.addr, vault.worker.role_id, vault.worker.secret_id_file, vault.mount)


def form(instance: Connection | None = None, **values: object) -> ConnectionForm:
    blank = {"host": "hr.internal", "port": 5432, "database": "hr", "username": "surveyor"}
    payload = values if instance else {"name": "hr", "password": PASSWORD, **blank, **values}
    bound = ConnectionForm.from_api(payload, instance)
    assert bound.is_valid(), bound.errors
    return bound


def created(**values: object) -> Connection:
    return connections.create(form(**values), "alice")


def fresh(connection: Connection) -> Connection:
    return Connection.objects.get(pk=connection.pk)


def password_of(worker: Vault, connection: Connection) -> str:
    """As a worker gets it: read the version the row names, refuse another target."""
    source = connections.source_of(fresh(connection))
    secret = worker.read(source.credential.path, source.credential.version)
    return credentials_from(secret, source.target).password


def age_strays() -> None:
    StraySecret.objects.update(since=timezone.now() - timedelta(hours=1))


def open_run(connection: Connection, status: str = "running") -> Run:
    credential = {"path": connection.credential_path, "version": connection.credential_version}
    return Run.objects.create(
        connection=connection,
        connection_name=connection.name,
        status=status,
        input={"source": {"credential": credential}},
        created_at=timezone.now(),
    )


def test_a_new_connection_is_a_row_and_a_secret_only_a_worker_reads(worker):
    connection = created()
    assert (connection.credential_path, connection.credential_version) == (
        f"connections/{connection.pk}",
        1,
    )
    assert password_of(worker, connection) == PASSWORD
    with pytest.raises(CredentialRefused, match="policy does not allow"):
        connections.vault().read(connection.credential_path, 1)
    assert not StraySecret.objects.exists()
    entry = AuditEntry.objects.get(action="connection.create")
    assert (entry.actor, entry.subject, entry.detail["version"]) == ("alice", "hr", 1)


def test_a_worker_can_read_and_nothing_else(worker):
    connection = created()
    with pytest.raises(CredentialRefused, match="policy"):
        worker.write(connection.credential_path, {"password": "forged"}, cas=1)
    with pytest.raises(CredentialRefused, match="policy"):
        worker.destroy(connection.credential_path)
    assert password_of(worker, connection) == PASSWORD


def test_of_two_forms_with_one_name_the_second_leaves_nothing(worker):
    first, second = form(), form(name="HR")
    kept = connections.create(first, "alice")
    with pytest.raises(NameTaken, match="named HR already"):
        connections.create(second, "bob")
    assert list(Connection.objects.values_list("pk", flat=True)) == [kept.pk]
    with pytest.raises(CredentialRefused, match="gone"):
        worker.read(f"connections/{second.instance.pk}", 1)
    assert not StraySecret.objects.exists()


def test_what_is_no_target_keeps_the_version(worker):
    connection = created()
    connections.edit(connection, form(connection, owner="team", options={"pace": 1}), "alice")
    saved = fresh(connection)
    assert (saved.owner, saved.limits.pace, saved.credential_version) == ("team", 1.0, 1)
    assert password_of(worker, connection) == PASSWORD
    entry = AuditEntry.objects.get(action="connection.edit")
    assert entry.detail == {"changed": ["options", "owner"]}


def test_a_new_target_takes_a_new_secret_bound_to_it(worker):
    connection = created()
    path = connection.credential_path
    changed = form(connection, host="new.internal", password="second")
    connections.edit(connection, changed, "alice")
    assert fresh(connection).credential_version == 2
    assert password_of(worker, connection) == "second"
    with pytest.raises(CredentialRefused, match="another target"):
        credentials_from(worker.read(path, 1), fresh(connection).target)


def test_a_host_changed_behind_the_form_does_not_get_the_password(worker):
    connection = created()
    Connection.objects.filter(pk=connection.pk).update(host="evil.example")
    with pytest.raises(CredentialRefused, match="another target"):
        password_of(worker, connection)


def test_an_edit_overtaken_by_another_target_is_refused(worker):
    connection = created()
    late = form(fresh(connection), database="hr2", password="late")
    late.cleaned_data["password"] = ""  # as if the form had been judged against an older row
    with pytest.raises(ConnectionChanged):
        connections.edit(connection, late, "bob")
    assert fresh(connection).database == "hr"


def test_a_name_taken_while_editing_changes_nothing(worker):
    created(name="other")
    connection = created()
    changed = form(connection, owner="team")
    changed.instance.name = "OTHER"
    with pytest.raises(NameTaken):
        connections.edit(connection, changed, "alice")
    assert (fresh(connection).name, fresh(connection).owner) == ("hr", "")


def test_rotating_stores_the_next_version_and_the_sweep_destroys_the_old(worker):
    connection = created()
    connections.rotate(connection, "reader", "second", "alice")
    saved = fresh(connection)
    assert (saved.credential_version, saved.username) == (2, "reader")
    assert password_of(worker, connection) == "second"
    assert connections.sweep() == 0  # too young: somebody may be about to name it
    age_strays()
    assert connections.sweep() == 1
    with pytest.raises(CredentialRefused, match="gone"):
        worker.read(saved.credential_path, 1)
    assert password_of(worker, connection) == "second"
    assert not StraySecret.objects.exists()


def test_an_open_run_keeps_the_version_it_began_with(worker):
    connection = created()
    run = open_run(connection)
    connections.rotate(connection, "", "second", "alice")
    age_strays()
    assert connections.sweep() == 0
    assert worker.read(connection.credential_path, 1)["password"] == PASSWORD
    Run.objects.filter(pk=run.pk).update(status="succeeded")
    assert connections.sweep() == 1
    with pytest.raises(CredentialRefused, match="gone"):
        worker.read(connection.credential_path, 1)


def test_of_two_rotations_at_once_one_is_told(worker, monkeypatch):
    connection = created()
    write = connections._write

    def overtaken(*args: object, **kwargs: object) -> int:
        monkeypatch.setattr(connections, "_write", write)
        connections.rotate(connection, "", "winner", "bob")
        return write(*args, **kwargs)

    monkeypatch.setattr(connections, "_write", overtaken)
    with pytest.raises(ConnectionChanged, match="Somebody else"):
        connections.rotate(connection, "", "loser", "alice")
    assert password_of(worker, connection) == "winner"
    age_strays()
    connections.sweep()
    assert password_of(worker, connection) == "winner"


def crash(*_: object, **__: object) -> None:
    raise RuntimeError("the process ends here")


def test_a_crash_between_vault_and_a_new_row_leaves_a_secret_for_the_sweep(worker, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(audit, "record", crash)
        with pytest.raises(RuntimeError):
            created()
    assert not Connection.objects.exists()
    path = StraySecret.objects.get().path
    assert worker.read(path, 1)["password"] == PASSWORD
    assert connections.sweep() == 0
    age_strays()
    assert connections.sweep() == 1
    with pytest.raises(CredentialRefused, match="gone"):
        worker.read(path, 1)
    assert created(name="hr").credential_version == 1


@pytest.mark.parametrize("swept", [False, True])
def test_after_a_crash_in_a_rotation_the_next_one_works(worker, monkeypatch, swept):
    connection = created()
    with monkeypatch.context() as patch:
        patch.setattr(connections, "_switch", crash)
        with pytest.raises(RuntimeError):
            connections.rotate(connection, "", "lost", "alice")
    assert password_of(worker, connection) == PASSWORD
    if swept:
        age_strays()
        assert connections.sweep() == 1
    connections.rotate(connection, "", "third", "alice")
    assert fresh(connection).credential_version == 3
    assert password_of(worker, connection) == "third"
    age_strays()
    connections.sweep()
    for gone in (1, 2):
        with pytest.raises(CredentialRefused, match="gone"):
            worker.read(connection.credential_path, gone)
    assert password_of(worker, connection) == "third"


def test_deleting_removes_the_row_then_the_secret(worker):
    connection = created()
    open_run(connection, status="succeeded")
    connections.delete(connection, "alice")
    assert not Connection.objects.exists()
    assert Run.objects.get().connection_name == "hr"
    with pytest.raises(CredentialRefused, match="gone"):
        worker.read(connection.credential_path, 1)
    assert not StraySecret.objects.exists()
    assert AuditEntry.objects.get(action="connection.delete").subject == "hr"


@pytest.mark.parametrize("status", Run.OPEN)
def test_a_connection_with_an_open_run_is_not_deleted(worker, status):
    connection = created()
    run = open_run(connection, status)
    with pytest.raises(ConnectionBusy, match=str(run.pk)):
        connections.delete(connection, "alice")
    assert password_of(worker, connection) == PASSWORD


def test_whoever_comes_after_a_delete_is_told(worker):
    stale = created()
    connections.delete(fresh(stale), "alice")
    edited = ConnectionForm.from_api({"owner": "team"}, stale)
    assert edited.is_valid()
    for verb in (
        lambda: connections.delete(stale, "bob"),
        lambda: connections.rotate(stale, "", "another password", "bob"),
        lambda: connections.edit(stale, edited, "bob"),
    ):
        with pytest.raises(ConnectionGone):
            verb()
    assert connections.vault().latest_version(stale.credential_path) == 0


def test_a_rotation_overtaken_by_a_delete_leaves_a_secret_for_the_sweep(worker, monkeypatch):
    connection = created()
    real = Vault.write

    def overtaken(vault: Vault, path: str, secret: dict[str, str], cas: int) -> int:
        version = real(vault, path, secret, cas)
        Connection.objects.filter(pk=connection.pk).delete()
        return version

    monkeypatch.setattr(Vault, "write", overtaken)
    with pytest.raises(ConnectionGone):
        connections.rotate(connection, "", "another password", "alice")
    age_strays()
    assert connections.sweep() == 1
    with pytest.raises(CredentialRefused):
        worker.read(connection.credential_path, 2)


def test_deleting_while_vault_is_down_leaves_the_secret_to_the_sweep(worker, settings):
    connection = created()
    env = settings.ENV
    settings.ENV = env.model_copy(update={"vault_addr": f"http://127.0.0.1:{closed_port()}"})
    connections.delete(connection, "alice")
    assert not Connection.objects.exists()
    age_strays()
    assert connections.sweep() == 0
    settings.ENV = env
    assert connections.sweep() == 1
    with pytest.raises(CredentialRefused, match="gone"):
        worker.read(connection.credential_path, 1)


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize("kind", ["down", "hung", "wrong role"])
def test_without_vault_nothing_is_saved_and_the_answer_is_quick(settings, kind, worker):
    connection = created()
    listener = socket.create_server(("127.0.0.1", 0))
    port = {"down": closed_port(), "hung": listener.getsockname()[1]}.get(kind)
    update = (
        {"vault_addr": f"http://127.0.0.1:{port}"} if port else {"vault_role_id": str(uuid.uuid4())}
    )
    env = settings.ENV
    settings.ENV = env.model_copy(update=update)
    changed = form(connection, host="new.internal", password="second")
    for verb in (
        lambda: created(name="second"),
        lambda: connections.rotate(fresh(connection), "", "second", "alice"),
        lambda: connections.edit(connection, changed, "alice"),
    ):
        begun = time.monotonic()
        with pytest.raises(Unavailable, match="Nothing was saved"):
            verb()
        assert time.monotonic() - begun < 5
    listener.close()
    settings.ENV = env
    assert list(Connection.objects.values_list("name", "host")) == [("hr", "hr.internal")]
    assert password_of(worker, connection) == PASSWORD
    age_strays()
    connections.sweep()
    assert not StraySecret.objects.exists()
    assert password_of(worker, connection) == PASSWORD


def test_a_sealed_vault_is_named(settings, tmp_path):
    from dashboard.local.openbao import OpenBaoServer
    from dashboard.local.servers import start

    server = OpenBaoServer(tmp_path / "openbao")
    child = start(server)
    try:
        role = server.apply()["dashboard"]
        settings.ENV = settings.ENV.model_copy(
            update={
                "vault_addr": server.address,
                "vault_role_id": role.role_id,
                "vault_secret_id_file": role.secret_id_file,
            }
        )
        server.seal()
        with pytest.raises(Unavailable, match="Vault is sealed"):
            created()
    finally:
        child.stop()
    assert not Connection.objects.exists()


def test_the_sixth_check_within_a_minute_is_refused():
    connection = created()
    for _ in range(5):
        audit.record("alice", "connection.check", connection)
    with pytest.raises(TooManyChecks):
        connections.check(connection, "alice")
    assert AuditEntry.objects.filter(action="connection.check").count() == 5


def test_a_check_without_temporal_says_so(settings):
    connection = created()
    address = f"127.0.0.1:{closed_port()}"
    settings.ENV = settings.ENV.model_copy(update={"temporal_address": address})
    begun = time.monotonic()
    with pytest.raises(Unavailable, match="Temporal"):
        connections.check(connection, "bob")
    assert time.monotonic() - begun < 6


def test_a_file_has_an_empty_secret_that_is_bound_to_its_path(worker):
    payload = {"name": "shop", "dialect": "sqlite", "database": "a.db"}
    bound = ConnectionForm.from_api(payload)
    assert bound.is_valid(), bound.errors
    connection = connections.create(bound, "alice")
    assert password_of(worker, connection) == ""
    moved = connections.edit(fresh(connection), form(fresh(connection), database="b.db"), "alice")
    assert moved.credential_version == 2
    assert password_of(worker, connection) == ""
    Connection.objects.update(database="behind-the-form.db")
    with pytest.raises(CredentialRefused):
        password_of(worker, connection)
    with pytest.raises(NoCredential):
        connections.rotate(fresh(connection), "", "canary", "alice")
    kept = connections.edit(fresh(moved), form(fresh(moved), owner="team"), "alice")
    assert kept.credential_version == 2
