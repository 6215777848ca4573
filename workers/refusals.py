"""Which versions of a credential a source has refused to a run, so that none is sent twice.

Remembered in the process and marked beside the snapshot, where the other workers of the
run see it. Two processes that send one version in the same instant cannot know of each
other; within a process logins with one version wait for each other.
"""

from __future__ import annotations

import threading
from contextlib import suppress

import orjson

from extraction.errors import AuthenticationFailed, StorageFailed
from extraction.snapshot.layout import root_of
from extraction.storage import Storage
from workers.contract import CredentialRef

Key = tuple[str, str, int]


class Refusals:
    def __init__(self) -> None:
        self._turns: dict[tuple[str, int], threading.Lock] = {}
        self._known: dict[Key, AuthenticationFailed] = {}
        self._lock = threading.Lock()

    def turn(self, credential: CredentialRef) -> threading.Lock:
        """Held while a version is sent: who comes next knows how that ended."""
        with self._lock:
            key = (credential.path, credential.version)
            return self._turns.setdefault(key, threading.Lock())

    def find(
        self, storage: Storage, run_id: str, ref: CredentialRef
    ) -> AuthenticationFailed | None:
        """How the source refused this version to the run, if it did."""
        key = (run_id, ref.path, ref.version)
        if key not in self._known:
            with suppress(StorageFailed, FileNotFoundError, ValueError, KeyError, TypeError):
                path = _path(run_id, ref.version)
                if storage.exists(path):
                    said = orjson.loads(storage.get(path))
                    self._known[key] = AuthenticationFailed(said["message"], said["fix"])
        return self._known.get(key)

    def add(
        self, storage: Storage, run_id: str, ref: CredentialRef, error: AuthenticationFailed
    ) -> None:
        self._known[run_id, ref.path, ref.version] = error
        with suppress(StorageFailed):
            said = {"message": error.message, "fix": error.fix}
            storage.put(_path(run_id, ref.version), orjson.dumps(said))


def _path(run_id: str, version: int) -> str:
    return f"{root_of(run_id)}/refused/{version}.json"
