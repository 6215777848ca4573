"""What activities get from outside."""

from __future__ import annotations

from concurrent.futures import Executor
from dataclasses import dataclass, field

from extraction.connection import AddressPolicy
from extraction.parsers import Parsers
from extraction.storage import Storage
from extraction.vault import Vault
from workers.publisher import Publisher
from workers.refusals import Refusals
from workers.settings import WorkerSettings


@dataclass(frozen=True)
class Needs:
    """`threads` must hold two per activity; `parsers` are shared by them all. `refusals` is for
    `login` alone."""

    settings: WorkerSettings
    vault: Vault
    storage: Storage
    publisher: Publisher
    policy: AddressPolicy
    worker: str
    threads: Executor
    parsers: Parsers = field(default_factory=Parsers)
    refusals: Refusals = field(default_factory=Refusals)
