from __future__ import annotations

import resource
import signal
from pathlib import Path

import pytest

from extraction.errors import StorageFailed
from extraction.storage import TEMPORARY, Storage, open_storage


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return open_storage(f"file://{tmp_path}/deep/er")


def test_what_is_put_can_be_got_and_listed(storage: Storage) -> None:
    storage.put("runs/a/one.json", b"1")
    storage.put("runs/a/one.json", b"22")
    storage.put("runs/b", b"")
    assert storage.get("runs/a/one.json") == b"22"
    assert storage.size("runs/a/one.json") == 2
    assert storage.list("runs") == ["runs/a/one.json", "runs/b"]
    assert storage.list("nothing") == []
    assert storage.exists("runs/b")
    assert not storage.exists("runs/a")


def test_files_and_directories_are_private(storage: Storage) -> None:
    storage.put("runs/a/one.json", b"1")
    file = storage.local_path("runs/a/one.json")
    modes = [path.stat().st_mode & 0o777 for path in (file, file.parent, file.parent.parent)]
    assert modes == [0o600, 0o700, 0o700]


@pytest.mark.parametrize("path", ["", "/etc/passwd", "../x", "a/../../x", "a/..", "a\0b", "link/x"])
def test_a_path_never_leads_out(storage: Storage, path: str) -> None:
    (storage.root / "link").symlink_to("/tmp")
    for use in (storage.get, storage.exists, storage.size, storage.list):
        with pytest.raises(StorageFailed):
            use(path)
    with pytest.raises(StorageFailed):
        storage.put(path, b"x")


@pytest.mark.parametrize("url", ["s3://bucket", "file://host/x", "/tmp/x", "file:"])
def test_only_a_local_directory_is_a_storage(url: str) -> None:
    with pytest.raises(StorageFailed):
        open_storage(url)


def test_a_full_disk_is_said_and_leaves_nothing(storage: Storage) -> None:
    storage.put("runs/kept", b"old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(StorageFailed) as caught:
            storage.put("runs/kept", b"x" * 5000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert caught.value.retry == "wait"
    assert storage.get("runs/kept") == b"old"
    assert [file.name for file in (storage.root / "runs").iterdir()] == ["kept"]


def test_a_file_nobody_can_ask_for_is_not_called_absent(storage: Storage) -> None:
    storage.put("runs/a", b"1")
    assert not storage.exists("runs/a/below-a-file")
    with pytest.raises(StorageFailed):
        storage.exists("x" * 300)


def test_sweep_takes_temporary_files_only(storage: Storage) -> None:
    storage.put("runs/a/kept", b"1")
    left = storage.local_path(f"runs/a/{TEMPORARY}dead")
    left.write_bytes(b"half")
    assert storage.list("runs") == ["runs/a/kept"]
    assert storage.sweep("runs", older_than=3600) == 0
    assert storage.sweep("runs") == 1
    assert storage.sweep("runs") == 0
    assert not left.exists()
    assert storage.exists("runs/a/kept")
