from __future__ import annotations

from pathlib import Path

import pytest

from config.settings import WebSettings
from dashboard.local.instance import _lines
from workers.settings import WorkerSettings, load


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DATA_DIR", str(tmp_path))
    return tmp_path


def test_what_the_environment_lacks_is_read_from_the_instance(directory: Path, monkeypatch) -> None:
    (directory / "instance.env").write_text(
        _lines({"TEMPORAL_ADDRESS": "127.0.0.1:1111", "VAULT_ADDR": "http://127.0.0.1:2222"})
    )
    monkeypatch.setenv("VAULT_ADDR", "https://vault.example")
    settings = load(WorkerSettings)
    assert settings.temporal_address == "127.0.0.1:1111"
    assert settings.vault_addr == "https://vault.example"


def test_a_worker_signs_in_as_a_worker_and_the_dashboard_as_itself(directory: Path) -> None:
    (directory / "instance.env").write_text(_lines({"VAULT_ROLE_ID": "dashboard"}))
    (directory / "worker.env").write_text(_lines({"VAULT_ROLE_ID": "worker"}))
    assert load(WorkerSettings).vault_role_id == "worker"
    assert load(WebSettings).vault_role_id == "dashboard"


@pytest.mark.parametrize(
    "value", ["plain", "with space", "a'b", 'a"b', "a\\b", "#no comment", "=="]
)
def test_a_value_is_read_back_as_it_was_written(directory: Path, value: str) -> None:
    (directory / "instance.env").write_text(_lines({"SECRET_KEY": value}))
    assert load(WebSettings).secret_key.get_secret_value() == value


def test_every_wrong_setting_is_named_and_no_value_is_shown(directory: Path, monkeypatch) -> None:
    monkeypatch.setenv("HEARTBEAT_INTERVAL", "canary-1")
    monkeypatch.setenv("MAX_CONCURRENT_ACTIVITIES", "0")
    monkeypatch.setenv("STORAGE_URL", "https://canary-2")
    with pytest.raises(SystemExit) as refused:
        load(WorkerSettings)
    text = str(refused.value)
    assert text.startswith("Wrong settings:\n")
    assert "HEARTBEAT_INTERVAL: Input should be a valid number" in text
    assert "MAX_CONCURRENT_ACTIVITIES: Input should be greater than or equal to 1" in text
    assert "STORAGE_URL: Value error, STORAGE_URL must start with file://" in text
    assert "canary" not in text


def test_lists_are_separated_by_commas(directory: Path, monkeypatch) -> None:
    monkeypatch.setenv("DENIED_ENDPOINTS", "127.0.0.1:1, 127.0.0.1:2,")
    monkeypatch.setenv("ALLOWED_ORIGINS", "https://a.example,https://b.example")
    settings = load(WebSettings)
    assert settings.denied_endpoints == ["127.0.0.1:1", "127.0.0.1:2"]
    assert settings.allowed_origins == ["https://a.example", "https://b.example"]


def test_a_relative_directory_means_the_same_everywhere(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATA_DIR", "data")
    settings = load(WorkerSettings)
    assert settings.data_dir == tmp_path / "data"
    assert settings.storage == f"file://{tmp_path}/data/storage"


def test_no_secret_shows_in_a_settings_repr(directory: Path, monkeypatch) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://:canary@127.0.0.1/0")
    monkeypatch.setenv("SECRET_KEY", "canary")
    monkeypatch.setenv("DATABASE_URL", "postgresql://u:canary@db/x")
    assert "canary" not in repr(load(WebSettings))


@pytest.mark.parametrize("value", ["relative", "{data}", "{data}/storage", "{data}/.."])
def test_files_of_our_own_are_no_sources(directory: Path, monkeypatch, value: str) -> None:
    monkeypatch.setenv("SOURCE_FILES", value.format(data=directory))
    with pytest.raises(SystemExit, match="SOURCE_FILES must"):
        load(WorkerSettings)


def test_no_directory_means_no_file_sources(directory: Path, tmp_path_factory, monkeypatch) -> None:
    monkeypatch.setenv("SOURCE_FILES", "")
    assert load(WorkerSettings).source_files is None
    files = tmp_path_factory.mktemp("files")
    monkeypatch.setenv("SOURCE_FILES", str(files))
    assert load(WorkerSettings).source_files == files
