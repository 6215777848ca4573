"""What was measured, where and with which versions: a file in bench/results."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).with_name("results")
PACKAGES = ("sqlalchemy", "psycopg", "pyarrow")


def new_file(what: str = "") -> Path:
    """A name of today that is not taken: what was measured before stays."""
    RESULTS.mkdir(exist_ok=True)
    name, number = f"{datetime.now(UTC):%Y-%m-%d}{what and '-' + what}", 2
    path = RESULTS / f"{name}.json"
    while path.exists():
        path, number = RESULTS / f"{name}-{number}.json", number + 1
    return path


def write(path: Path, server_version: str, result: Mapping[str, Any]) -> None:
    document = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": {
            "postgresql": server_version,
            "python": platform.python_version(),
            **{name: version(name) for name in PACKAGES},
        },
        "machine": {
            "cpus": os.cpu_count(),
            "memory": os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"),
            "platform": platform.platform(),
        },
        **result,
    }
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")
