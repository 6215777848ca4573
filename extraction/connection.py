"""What reaches a source: a target without a password, and how politely to use it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from typing import Literal

TLSMode = Literal["disable", "require", "verify-full"]


@dataclass(frozen=True)
class Target:
    """Where to connect and as whom. Fields only, never a URL."""

    dialect: str
    host: str
    port: int
    database: str
    username: str
    tls: str = "verify-full"

    def digest(self) -> str:
        """sha256 over all fields: what a secret is bound to."""
        text = json.dumps(asdict(self), sort_keys=True, ensure_ascii=True)
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class Options:
    """How a run uses the source. Seconds where not said otherwise."""

    sessions: int = 3
    pace: float = 0.0
    statement_timeout: float = 60.0
    lock_timeout: float = 2.0
    connect_timeout: float = 5.0


@dataclass(frozen=True)
class Credentials:
    username: str
    password: str = field(repr=False)
