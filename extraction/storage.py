"""Where snapshots live: a directory, written so that a file is whole or absent."""

from __future__ import annotations

import hashlib
import os
import stat
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from extraction import crash
from extraction.errors import StorageFailed

TEMPORARY = ".tmp-"
_CHUNK = 1 << 20


def open_storage(url: str) -> Storage:
    """The storage at a `file://` URL; its directory is made when missing."""
    parts = urlsplit(url)
    if parts.scheme != "file" or parts.netloc not in ("", "localhost") or not parts.path:
        raise StorageFailed(
            "The snapshot storage must be a file:// URL with an absolute path.",
            "Set STORAGE_URL to a directory, such as file:///var/lib/surveyor/snapshots.",
        )
    return Storage(Path(unquote(parts.path)))


class Storage:
    """Paths are relative, with forward slashes; directories are 0700, files 0600."""

    def __init__(self, root: Path) -> None:
        try:
            root.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise _failed(error) from error
        self.root = root.resolve()

    def put(self, path: str, data: bytes) -> None:
        """Write atomically and durably: after this returns the file survives a power cut."""
        target = self.local_path(path)
        temporary = target.with_name(f"{TEMPORARY}{uuid.uuid4().hex}")
        try:
            if crash.ARMED:
                crash.writing(path, "before")
            self._make_directory(target.parent)
            _write_durably(temporary, data)
            if crash.ARMED:
                crash.writing(path, "before_rename")
            temporary.replace(target)
            _sync_directory(target.parent)
            if crash.ARMED:
                crash.writing(path, "after")
        except OSError as error:
            raise _failed(error) from error
        finally:
            _remove(temporary)

    def get(self, path: str) -> bytes:
        with _reading():
            return self.local_path(path).read_bytes()

    def exists(self, path: str) -> bool:
        """Whether a file is there; a storage that cannot be asked is StorageFailed, not a no."""
        try:
            return stat.S_ISREG(self.local_path(path).stat().st_mode)
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError as error:
            raise _failed(error) from error

    def size(self, path: str) -> int:
        with _reading():
            return self.local_path(path).stat().st_size

    def stamp(self, path: str) -> tuple[int, ...]:
        """Another one as soon as somebody has written the file."""
        with _reading():
            now = self.local_path(path).stat()
        return now.st_ino, now.st_size, now.st_mtime_ns, now.st_ctime_ns

    def digest(self, path: str) -> str:
        """The sha256 of what is stored, as hexadecimal text."""
        digest = hashlib.sha256()
        with _reading(), self.local_path(path).open("rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
        return digest.hexdigest()

    def list(self, prefix: str) -> list[str]:
        """Every file below a directory, sorted; none when it does not exist."""
        files = (f for f in self.local_path(prefix).rglob("*") if f.is_file())
        return sorted(
            f.relative_to(self.root).as_posix() for f in files if not f.name.startswith(TEMPORARY)
        )

    def local_path(self, path: str) -> Path:
        """The file behind a path; one that leads out of the storage is refused."""
        pure = PurePosixPath(path)
        if not path or "\0" in path or pure.is_absolute() or ".." in pure.parts:
            raise StorageFailed(f"{path!r} is no path inside the snapshot storage.")
        full = self.root / pure
        if not full.resolve().is_relative_to(self.root):
            raise StorageFailed(f"{path!r} leads out of the snapshot storage.")
        return full

    def sweep(self, prefix: str, older_than: float = 0.0) -> int:
        """Remove temporary files below a directory, left by writers that died."""
        newest = time.time() - older_than
        swept = 0
        for file in self.local_path(prefix).rglob(TEMPORARY + "*"):
            try:
                if file.stat().st_mtime <= newest:
                    file.unlink()
                    swept += 1
            except FileNotFoundError:
                continue
            except OSError as error:
                raise _failed(error) from error
        return swept

    def _make_directory(self, directory: Path) -> None:
        missing = []
        while not directory.exists():
            missing.append(directory)
            directory = directory.parent
        for made in reversed(missing):
            made.mkdir(mode=0o700, exist_ok=True)
            _sync_directory(made.parent)


@contextmanager
def _reading() -> Iterator[None]:
    """A file that is missing is said to be; all else that fails is the storage's fault."""
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        raise _failed(error) from error


def _write_durably(file: Path, data: bytes) -> None:
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(file: Path) -> None:
    try:
        file.unlink(missing_ok=True)
    except OSError:
        return  # the sweep takes what cannot be removed now


def _failed(error: OSError) -> StorageFailed:
    return StorageFailed(f"The snapshot storage cannot be used: {error.strerror or error}.")
