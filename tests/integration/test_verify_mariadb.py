"""What is read of MariaDB, against what MariaDB says elsewhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench.compare import snapshot_rows
from bench.verify import lines, verify_mariadb
from extraction.catalog import KINDS

pytestmark = pytest.mark.integration

ODD = Path(__file__).with_name("odd_mysql.sql")


@pytest.fixture(scope="module")
def odd(mariadb_alone: Any) -> Any:
    assert mariadb_alone.load(ODD) == []
    return mariadb_alone


def test_odd_schemas(odd: Any, tmp_path: Path) -> None:
    report = verify_mariadb(odd, tmp_path)
    text = "\n".join(lines(report, 10))
    assert report.passed, text
    compared = [comparison.kind for comparison in report.comparisons]
    assert compared == [kind for kind in KINDS if kind != "dependencies"]
    assert all(comparison.expected for comparison in report.comparisons), text
    manifest = json.loads(next(tmp_path.glob("snapshots/*/manifest.json")).read_bytes())
    found = snapshot_rows(tmp_path, manifest, KINDS["dependencies"])
    odd_one, parents = "odd one", ("odd one", "parents")
    assert [tuple(row[name] for name in KINDS["dependencies"].key) for row in found] == [
        (odd_one, "counted", odd_one, "seen", "c"),
        (odd_one, "far", odd_one, "children", "id"),
        (odd_one, "far", "odd_two", "children", "p"),
        (odd_one, "orphaned", *parents, "a"),
        (odd_one, "seen", *parents, "a"),
        (odd_one, "seen", *parents, "c"),
    ]
