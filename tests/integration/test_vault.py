from __future__ import annotations

import socket
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from dashboard.local.openbao import OpenBaoServer
from dashboard.local.servers import start
from extraction.connection import Credentials, Target
from extraction.errors import CredentialConflict, CredentialRefused, VaultUnavailable
from extraction.vault import Vault, credentials_from, secret_for

pytestmark = pytest.mark.integration

TARGET = Target("postgresql", "db.example", 5432, "shop", "reader")
SECRET = secret_for(TARGET, "reader", "canary-password")


def client(vault, role: str) -> Vault:
    found = getattr(vault, role)
    return Vault(vault.addr, found.role_id, found.secret_id_file, vault.mount)


@pytest.fixture
def dashboard(vault) -> Vault:
    return client(vault, "dashboard")


@pytest.fixture
def worker(vault) -> Vault:
    return client(vault, "worker")


def test_what_the_dashboard_writes_the_worker_reads(dashboard: Vault, worker: Vault) -> None:
    assert dashboard.write("connections/one", SECRET, cas=0) == 1
    secret = worker.read("connections/one", 1)
    assert credentials_from(secret, TARGET) == Credentials("reader", "canary-password")


def test_a_new_version_leaves_the_old_one_until_it_is_destroyed(dashboard, worker) -> None:
    dashboard.write("connections/two", SECRET, cas=0)
    assert dashboard.write("connections/two", SECRET | {"password": "next"}, cas=1) == 2
    assert worker.read("connections/two", 1)["password"] == "canary-password"
    assert worker.read("connections/two", 2)["password"] == "next"
    dashboard.destroy("connections/two", [1])
    assert dashboard.versions("connections/two") == [2]
    with pytest.raises(CredentialRefused, match="gone"):
        worker.read("connections/two", 1)


def test_the_newest_version_is_read_with_its_number(dashboard: Vault, worker: Vault) -> None:
    dashboard.write("connections/newest", SECRET, cas=0)
    dashboard.write("connections/newest", SECRET | {"password": "next"}, cas=1)
    assert worker.newest("connections/newest") == (2, SECRET | {"password": "next"})
    dashboard.destroy("connections/newest", [2])
    with pytest.raises(CredentialRefused, match="gone"):
        worker.newest("connections/newest")


def test_a_deleted_version_is_gone(dashboard, worker, vault) -> None:
    dashboard.write("connections/deleted", SECRET, cas=0)
    dashboard._signed_in().secrets.kv.v2.delete_secret_versions(
        "connections/deleted", [1], mount_point=vault.mount
    )
    with pytest.raises(CredentialRefused, match="gone"):
        worker.read("connections/deleted", 1)


def test_two_writers_of_one_version_conflict(dashboard) -> None:
    dashboard.write("connections/three", SECRET, cas=0)
    with pytest.raises(CredentialConflict):
        dashboard.write("connections/three", SECRET, cas=0)
    with pytest.raises(CredentialConflict):
        dashboard.write("connections/three", SECRET, cas=7)


def test_everything_at_a_path_can_be_destroyed_twice(dashboard, worker) -> None:
    dashboard.write("sweep/four", SECRET, cas=0)
    dashboard.destroy("sweep/four")
    dashboard.destroy("sweep/four")
    assert dashboard.latest_version("sweep/four") == 0
    assert dashboard.versions("sweep/four") == []
    with pytest.raises(CredentialRefused, match="gone"):
        worker.read("sweep/four", 1)


ASK = {
    "create": lambda v: v.write("connections/new", SECRET, cas=0),
    "update": lambda v: v.write("connections/matrix", SECRET, cas=1),
    "read": lambda v: v.read("connections/matrix", 1),
    "versions": lambda v: v.versions("connections/matrix"),
    "destroy": lambda v: v.destroy("connections/matrix", [99]),
    "delete": lambda v: v.destroy("connections/other"),
}
ALLOWED = {("dashboard", verb): verb != "read" for verb in ASK} | {
    ("worker", verb): verb == "read" for verb in ASK
}


@pytest.mark.parametrize(("role", "verb"), ALLOWED)
def test_the_policies_allow_this_and_no_more(vault, dashboard, role: str, verb: str) -> None:
    for path in ("connections/matrix", "connections/new"):
        dashboard.destroy(path)
    dashboard.write("connections/matrix", SECRET, cas=0)
    if ALLOWED[role, verb]:
        ASK[verb](client(vault, role))
    else:
        with pytest.raises(CredentialRefused, match="policy"):
            ASK[verb](client(vault, role))


@pytest.mark.parametrize("role", ["dashboard", "worker"])
def test_neither_role_lists_what_there_is(vault, role: str) -> None:
    import hvac.exceptions

    kv = client(vault, role)._signed_in().secrets.kv.v2
    with pytest.raises(hvac.exceptions.Forbidden):
        kv.list_secrets("connections", mount_point=vault.mount)


@pytest.mark.parametrize("role", ["dashboard", "worker"])
@pytest.mark.parametrize("path", ["sys/policies/acl/worker", "sys/mounts", "auth/approle/role"])
def test_neither_role_touches_policies_or_mounts(vault, role: str, path: str) -> None:
    import hvac.exceptions

    signed_in = client(vault, role)._signed_in()
    with pytest.raises(hvac.exceptions.Forbidden):
        signed_in.read(path)
    policies = signed_in.auth.token.lookup_self()["data"]["policies"]
    assert set(policies) == {"default", role}


def test_tokens_live_an_hour_at_most(vault) -> None:
    for role in ("dashboard", "worker"):
        token = client(vault, role)._signed_in().auth.token.lookup_self()["data"]
        assert 0 < token["creation_ttl"] <= 3600


def test_a_token_that_vault_forgot_is_replaced_unseen(dashboard, worker) -> None:
    dashboard.write("connections/five", SECRET, cas=0)
    worker.read("connections/five", 1)
    worker._signed_in().auth.token.revoke_self()
    assert worker.read("connections/five", 1)["username"] == "reader"


def test_it_signs_in_again_at_two_thirds_of_the_life(worker) -> None:
    first = worker._signed_in()
    assert worker._signed_in() is first
    assert 0 < worker._renew_at - time.monotonic() <= 1200.5
    worker._renew_at = time.monotonic()
    assert worker._signed_in() is not first


def test_many_threads_share_one_sign_in(dashboard, worker) -> None:
    dashboard.write("connections/six", SECRET, cas=0)
    clients, barrier = set(), threading.Barrier(8)

    def read() -> None:
        barrier.wait(5)
        worker.read("connections/six", 1)
        clients.add(worker._signed_in())

    threads = [threading.Thread(target=read) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(clients) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"host": "evil.example"},
        {"port": 5433},
        {"database": "other"},
        {"username": "root"},
        {"tls": "disable"},
        {"dialect": "mysql"},
    ],
)
def test_a_secret_is_refused_for_any_other_target(change: dict[str, object]) -> None:
    with pytest.raises(CredentialRefused) as refused:
        credentials_from(SECRET, replace(TARGET, **change))
    assert "canary-password" not in str(refused.value)


def test_wrong_credentials_of_the_process_wait_with_the_reason(vault, tmp_path: Path) -> None:
    wrong = tmp_path / "secret-id"
    wrong.write_text("not-it")
    with pytest.raises(VaultUnavailable, match="AppRole"):
        Vault(vault.addr, vault.worker.role_id, wrong, vault.mount).read("x", 1)
    with pytest.raises(VaultUnavailable, match="secret id"):
        Vault(vault.addr, vault.worker.role_id, tmp_path / "none", vault.mount).read("x", 1)


def test_a_rotated_secret_id_is_picked_up_without_a_restart(vault, dashboard, tmp_path) -> None:
    dashboard.write("connections/seven", SECRET, cas=0)
    file = tmp_path / "secret-id"
    file.write_text("not yet")
    worker = Vault(vault.addr, vault.worker.role_id, file, vault.mount)
    with pytest.raises(VaultUnavailable):
        worker.read("connections/seven", 1)
    file.write_text(vault.worker.secret_id_file.read_text() + "\n")
    assert worker.read("connections/seven", 1)["username"] == "reader"


def test_an_unreachable_vault_is_down(tmp_path: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        addr = f"http://127.0.0.1:{closed.getsockname()[1]}"
        vault = Vault(addr, "role", tmp_path / "none", "surveyor")
        assert vault.health() == ("down", "Vault cannot be reached.")


def test_a_silent_vault_costs_three_seconds(vault) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        addr = f"http://127.0.0.1:{silent.getsockname()[1]}"
        started = time.monotonic()
        with pytest.raises(VaultUnavailable, match="within 3 s"):
            Vault(addr, "role", vault.worker.secret_id_file, "surveyor").read("x", 1)
        assert time.monotonic() - started < 4


def test_a_sealed_vault_waits_and_a_running_one_is_ok(tmp_path: Path) -> None:
    server = OpenBaoServer(tmp_path / "openbao")
    child = start(server)
    role = server.apply()["worker"]
    vault = Vault(server.address, role.role_id, role.secret_id_file, server.mount)
    try:
        assert vault.health() == ("ok", "")
        vault._signed_in()
        server.seal()
        assert vault.health() == ("sealed", "Vault is sealed.")
        with pytest.raises(VaultUnavailable, match="sealed"):
            vault.read("connections/eight", 1)
    finally:
        child.stop()
    assert vault.health()[0] == "down"
    with pytest.raises(VaultUnavailable, match="reached"):
        vault.read("connections/eight", 1)
