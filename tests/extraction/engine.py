"""A whole run of the engine in one process, for tests: plan, shards, finish."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import orjson

from extraction.connection import AddressPolicy, Credentials, Options, Session, Target, open_session
from extraction.extract import Advance, Finished, Plan, finish, make_plan, read_shard
from extraction.parsers import Parsers
from extraction.selection import Selection
from extraction.snapshot.layout import manifest_path
from extraction.snapshot.reader import Snapshot, open_snapshot
from extraction.storage import Storage

AT = "2026-01-01T00:00:00+00:00"
LOCAL = AddressPolicy(allow_loopback=True)


@dataclass
class Engine:
    """A source and a storage; every call is a session of its own."""

    target: Target
    password: str
    storage: Storage
    run_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    options: Options = field(default_factory=Options)
    policy: AddressPolicy = LOCAL
    parsers: Parsers | None = None

    def session(self, shard: int | str = "plan") -> Session:
        credentials = Credentials(self.target.username, self.password)
        label = f"surveyor run {self.run_id} shard {shard}"
        return open_session(self.target, credentials, self.options, self.policy, label)

    def plan(self, selection: Selection | None = None) -> Plan:
        with self.session() as session:
            return make_plan(session, selection or Selection(), self.storage, self.run_id)

    def read(
        self,
        plan: Plan,
        shard: int,
        attempt: int = 1,
        report: Callable[[Advance], None] = lambda advance: None,
        stopped: Callable[[], bool] = lambda: False,
    ) -> str:
        """The path of the shard's ledger."""
        with self.session(shard) as session:
            return read_shard(
                session, self.storage, self.run_id, plan, shard, attempt, f"w{attempt}",
                self.options, report, stopped, self.parsers,
            ).ledger  # fmt: skip

    def finish(self, plan: Plan, ledgers: list[str]) -> Finished:
        return finish(self.storage, self.run_id, plan.path, ledgers, AT, plan.selection)

    def run(self, selection: Selection | None = None) -> Snapshot:
        plan = self.plan(selection)
        finished = self.finish(plan, [self.read(plan, shard.id) for shard in plan.shards])
        return open_snapshot(self.storage, self.run_id, finished.manifest)


def rows_of(snapshot: Snapshot, kind: str) -> list[dict[str, Any]]:
    text = b"".join(snapshot.rows(kind, "jsonl"))
    return [orjson.loads(line) for line in text.splitlines()]


def digests(snapshot: Snapshot) -> list[tuple[str, str]]:
    """What two runs of an unchanged source have in common."""
    files = snapshot.manifest["files"]
    return [(f["kind"], f["sha256"]) for f in files if f["kind"] != "statistics"]


def manifest_digest(storage: Storage, run_id: str) -> str:
    return hashlib.sha256(storage.get(manifest_path(run_id))).hexdigest()
