"""What is read of MariaDB, against what MariaDB says elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

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
    assert [comparison.kind for comparison in report.comparisons] == list(KINDS)
    empty = [comparison.kind for comparison in report.comparisons if not comparison.expected]
    # Nothing there records what views read.
    assert empty == ["dependencies"]
